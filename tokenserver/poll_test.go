package tokenserver_test

import (
	"net/http"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
)

func TestPollWakesForARequest(t *testing.T) {
	_, bank, d := scene(t)
	poll := d.parked(protocol.PathRequests, "Prefer", "wait=30")
	bank.start("login", "alice")
	a := await(t, poll)
	if len(d.list(a)) != 1 || a.header.Get("Etag") == "" || a.header.Get("Preference-Applied") != "wait=30" {
		t.Errorf("the poll brought %s with %v", a.body, a.header)
	}
}

func TestPollOfAKnownList(t *testing.T) {
	_, bank, d := scene(t)
	empty := d.get(protocol.PathRequests).want(t, http.StatusNoContent).header.Get("Etag")
	first := bank.start("login", "alice")
	one := d.get(protocol.PathRequests, "Prefer", "wait=30", "If-None-Match", empty)
	if len(d.list(one)) != 1 {
		t.Fatal("a changed list is not answered at once")
	}
	tag := one.header.Get("Etag")

	a := d.get(protocol.PathRequests, "Prefer", "wait=1", "If-None-Match", tag).want(t, http.StatusNoContent)
	if a.header.Get("Etag") != tag {
		t.Error("an unchanged list has another tag")
	}

	poll := d.parked(protocol.PathRequests, "Prefer", "wait=30", "If-None-Match", tag)
	second := bank.start("confirm", "alice")
	two := await(t, poll)
	if len(d.list(two)) != 2 {
		t.Fatalf("the poll brought %s", two.body)
	}

	poll = d.parked(protocol.PathRequests, "Prefer", "wait=30", "If-None-Match", two.header.Get("Etag"))
	bank.post("/v1/transactions/"+first.ID+"/cancel", nil).want(t, http.StatusOK)
	three := await(t, poll)
	if len(d.list(three)) != 1 {
		t.Fatalf("the poll brought %s", three.body)
	}

	poll = d.parked(protocol.PathRequests, "Prefer", "wait=30", "If-None-Match", three.header.Get("Etag"))
	d.decide(second.ID, protocol.Deny, "").want(t, http.StatusOK)
	last := await(t, poll)
	if got := d.list(last); got == nil || len(got) != 0 || last.header.Get("Etag") != empty {
		t.Errorf("the emptied list is %s", last.body)
	}
}

func TestRequestsOutliveTheServer(t *testing.T) {
	s, bank, d := scene(t)
	bank.start("login", "alice")
	bank.start("confirm", "alice")
	before := d.get(protocol.PathRequests)
	s.Restart()
	after := d.get(protocol.PathRequests)
	a, b := d.list(before), d.list(after)
	if len(a) != 2 || len(b) != 2 || a[0] != b[0] || a[1] != b[1] || before.header.Get("Etag") != after.header.Get("Etag") {
		t.Error("a restarted server sends other bytes")
	}
}

func TestStopEndsPolls(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("login", "alice")
	tag := d.get(protocol.PathRequests).header.Get("Etag")
	poll := d.parked(protocol.PathRequests, "Prefer", "wait=60", "If-None-Match", tag)
	wait := bank.parked("/v1/transactions/"+tx.ID, "Prefer", "wait=60")
	s.Stop()
	await(t, poll).want(t, http.StatusNoContent)
	await(t, wait).want(t, http.StatusOK)
}

func TestOnlyOwnRequests(t *testing.T) {
	s, bank, d := scene(t)
	s.AddUser("bob")
	b := enrollDevice(t, s, enroll.Invitation{User: "bob"})
	tx := bank.start("login", "alice")
	if len(b.pending()) != 0 {
		t.Error("bob is asked what alice is asked")
	}
	b.get(protocol.PathRequests+"/"+tx.ID).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	compact, r := d.request(tx.ID)
	b.send(tx.ID, d.sign(d.decision(compact, r, protocol.Approve, tx.Number))).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
}

func TestRevocationByAnotherProcessEndsPolls(t *testing.T) {
	s, _, d := scene(t)
	poll := d.parked(protocol.PathRequests, "Prefer", "wait=60")
	// The desk has a store of its own, as the command line has.
	if _, err := s.Desk.Revoke(t.Context(), enroll.Revocation{Device: d.enrolled.Device, Reason: enroll.ReasonRevoked}); err != nil {
		t.Fatal(err)
	}
	if p := await(t, poll).refused(t, http.StatusGone, protocol.ProblemRevoked); p.Detail != enroll.ReasonRevoked {
		t.Errorf("the device hears %q", p.Detail)
	}
}

package agent

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

// audited are the kinds of what is on record.
func (k *kit) audited() (kinds []string) {
	k.t.Helper()
	err := k.agent.cfg.Audit.Records(k.t.Context(), func(r audit.Record) bool {
		kinds = append(kinds, r.Kind)
		return true
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return kinds
}

// TestAHostileServerEndsInSilence sends requests that nobody answers, ended in
// every way that a server has: by expiry, by taking them back, and by saying
// that another device approved.
func TestAHostileServerEndsInSilence(t *testing.T) {
	k := newKit(t)
	for i, end := range []protocol.State{protocol.StateExpired, protocol.StateCancelled, protocol.StateApproved} {
		id := fmt.Sprint("bomb", i)
		k.list(1000, k.sign(k.request(id, protocol.C0)))
		k.agent.pending.end(k.id, id, end)
	}
	k.list(1000, k.sign(k.request("fourth", protocol.C0)))
	it, sum, err := k.agent.pending.show(scopeOf(testUID), "fourth")
	if err != nil || sum.Quiet != ipc.QuietTooMany || sum.Status != statusPending {
		t.Fatalf("%+v, %v", sum, err)
	}
	if got := k.agent.floor(it); got != protocol.C2 {
		t.Errorf("the floor is %v", got)
	}
	// A person's own approval is not held back, and takes the PIN.
	bare := k.answer("fourth", protocol.Approve)
	bare.PIN = secret.Value{}
	if _, err := k.agent.draft(it, bare, k.profile.approval().Protection()); codeOf(err) != ipc.CodePINRequired {
		t.Errorf("without the PIN: %v", err)
	}
	e, err := k.decide("fourth", protocol.Approve)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := protocol.NewKeys(k.approval.Public())
	if err != nil {
		t.Fatal(err)
	}
	d, err := protocol.ParseDecision(e.Decision, keys)
	if err != nil || d.UV.Class != protocol.C2 || d.UV.Method != protocol.UVPIN {
		t.Errorf("decided %+v, %v", d, err)
	}
	e.State, e.Status = state.Delivered, string(protocol.StateApproved)
	k.profile.tell(e)
	if got := k.agent.attention.floor(testUID); got != protocol.C2 {
		t.Errorf("in silence the floor is %v after an approval", got)
	}
}

func TestLocalPolicyOnlyRaises(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("low", protocol.C0)), k.sign(k.request("high", protocol.C3)))
	for floor, want := range map[protocol.Class][2]protocol.Class{
		0:           {protocol.C0, protocol.C3},
		protocol.C1: {protocol.C2, protocol.C3}, // there is no number to type
		protocol.C2: {protocol.C2, protocol.C3},
	} {
		k.agent.cfg.Policy.ClassFloor = floor
		for i, id := range []string{"low", "high"} {
			it, _, err := k.agent.pending.show(scopeOf(testUID), id)
			if err != nil || k.agent.floor(it) != want[i] {
				t.Errorf("with %v, %s takes %v", floor, id, k.agent.floor(it))
			}
		}
	}
}

// TestTheServerChangesNothingThatIsShown lists other texts, classes and times
// under an id that is known.
func TestTheServerChangesNothingThatIsShown(t *testing.T) {
	k := newKit(t)
	first := k.sign(k.request("a", protocol.C2))
	k.list(1000, first)
	it, before, err := k.agent.pending.show(scopeOf(testUID), "a")
	if err != nil {
		t.Fatal(err)
	}
	deadline := it.deadline
	other := k.request("a", protocol.C0)
	other.Message, other.ExpiresAt = "Pay it all", other.ExpiresAt+3600
	k.list(1000, k.sign(other))
	it, after, err := k.agent.pending.show(scopeOf(testUID), "a")
	if err != nil || after != before || it.compact != first || it.deadline != deadline {
		t.Errorf("shown %+v, before %+v, %v", after, before, err)
	}
}

func TestNotMeEndsWhatARelyingPartyAsks(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)), k.sign(k.request("b", protocol.C1)))
	it, _, err := k.agent.pending.show(scopeOf(testUID), "a")
	if err != nil {
		t.Fatal(err)
	}
	k.agent.denied(k.profile, it, protocol.ReasonCancelled)
	if k.profile.blocks("bank") {
		t.Fatal("a plain denial blocks")
	}
	if _, err := k.decide("a", protocol.Deny); err != nil {
		t.Fatal(err)
	}
	k.agent.denied(k.profile, it, protocol.ReasonNotMe)
	if got := k.status("b"); got != "cancelled" {
		t.Errorf("what else it asked is %s", got)
	}
	k.list(1000, k.sign(k.request("c", protocol.C1)))
	if got := k.status("c"); got != "" {
		t.Errorf("what it asks now is %s", got)
	}
	// It holds in the next run too.
	k.start()
	k.list(1000, k.sign(k.request("d", protocol.C1)))
	if got := k.status("d"); got != "" {
		t.Errorf("after a restart it is %s", got)
	}
	if kinds := strings.Join(k.audited(), " "); !strings.Contains(kinds, recordBlocked) || !strings.Contains(kinds, recordRefused) {
		t.Errorf("recorded %s", kinds)
	}
}

// TestADecisionIsOnRecordOrIsNotMade takes the log away.
func TestADecisionIsOnRecordOrIsNotMade(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)), k.sign(k.request("b", protocol.C1)))
	if _, err := k.decide("a", protocol.Approve); err != nil {
		t.Fatal(err)
	}
	if kinds := k.audited(); kinds[len(kinds)-1] != recordMade {
		t.Errorf("recorded %q", kinds)
	}
	if err := k.agent.cfg.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.decide("b", protocol.Approve); err == nil {
		t.Error("a decision was made that is not on record")
	}
	if got := k.status("b"); got != statusPending {
		t.Errorf("the request is %s", got)
	}
}

// TestWhatWasNotStoredIsOnRecord fills the disk between the record and the
// outbox.
func TestWhatWasNotStoredIsOnRecord(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	save := k.profile.outbox.save
	k.profile.outbox.save = func(state.Entry) error { return syscall.ENOSPC }
	if _, err := k.decide("a", protocol.Approve); codeOf(err) != ipc.CodeStorage {
		t.Errorf("on a full disk: %v", err)
	}
	if kinds := k.audited(); len(kinds) < 2 || kinds[len(kinds)-2] != recordMade || kinds[len(kinds)-1] != recordUnstored {
		t.Errorf("recorded %q", kinds)
	}
	k.profile.outbox.save = save
	if _, err := k.decide("a", protocol.Approve); err != nil {
		t.Fatal(err)
	}
	if kinds := k.audited(); kinds[len(kinds)-1] != recordMade {
		t.Errorf("recorded %q", kinds)
	}
}

// TestSuspendedIsNotTheEnd follows a device that the server holds off.
func TestSuspendedIsNotTheEnd(t *testing.T) {
	k := newKit(t)
	sub := k.agent.events.subscribe(scopeOf(testUID).Covers, testUID, false)
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	k.profile.Reached(&protocol.Problem{Status: http.StatusForbidden, Code: protocol.ProblemSuspended, Title: "Device suspended", Detail: "a copy"})
	if got := k.profile.get(); got.State != state.Suspended || k.status("a") != "" {
		t.Errorf("the profile is %s, the request %s", got.State, k.status("a"))
	}
	if trouble := k.profile.trouble(); !strings.Contains(trouble, "a copy") {
		t.Errorf("trouble: %q", trouble)
	}
	k.profile.Reached(nil)
	if got := k.profile.get().State; got != state.Active {
		t.Errorf("it goes on as %s", got)
	}
	// What waited at the server waits here again, and nobody had ignored it.
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	if got := k.status("a"); got != statusPending {
		t.Errorf("the request is %q", got)
	}
	if m := k.agent.attention.mood(testUID); len(m.Strikes) > 0 {
		t.Errorf("strikes: %v", m.Strikes)
	}
	var told []string
	testenv.Eventually(t, "both changes are told", func() bool {
		for len(sub.events) > 0 {
			if e := <-sub.events; e.Kind == ipc.EventProfile {
				told = append(told, e.Profile.State)
			}
		}
		return len(told) == 2
	})
	if told[0] != state.Suspended || told[1] != state.Active {
		t.Errorf("told %q", told)
	}
}

// TestALostMoodIsNoGoodMood: who was silent cannot be read.
func TestALostMoodIsNoGoodMood(t *testing.T) {
	k := newKit(t)
	if err := os.WriteFile(filepath.Join(k.root, "attention.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.list(1000, k.sign(k.request("a", protocol.C0)))
	it, _, err := k.agent.pending.show(scopeOf(testUID), "a")
	if err != nil || k.agent.floor(it) != protocol.C2 {
		t.Errorf("the floor is %v, %v", k.agent.floor(it), err)
	}
}

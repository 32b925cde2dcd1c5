package tokenserver_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

func typeOf(t *testing.T, s *servertest.Server, name string) store.Type {
	t.Helper()
	types, err := s.Office.Types(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range types {
		if typ.Name == name {
			return typ
		}
	}
	t.Fatalf("there is no type %s", name)
	return store.Type{}
}

func serverKeys(t *testing.T, d *device) protocol.Keys {
	t.Helper()
	keys, err := protocol.ParseJWKS(d.enrolled.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestDecisionWithEvidence(t *testing.T) {
	s, bank, d := scene(t)
	for _, c := range []struct {
		typ, decision string
		state         protocol.State
		role          protocol.Role
	}{
		{"login", protocol.Approve, protocol.StateApproved, protocol.RoleApproval},
		{"confirm", protocol.Approve, protocol.StateApproved, protocol.RoleDevice},
		{"login", protocol.Deny, protocol.StateDenied, protocol.RoleDevice},
	} {
		t.Run(c.typ+" "+c.decision, func(t *testing.T) {
			tx := bank.start(c.typ, "alice")
			var accepted protocol.Accepted
			d.decide(tx.ID, c.decision, tx.Number).want(t, http.StatusOK).decode(t, &accepted)
			receipt, err := protocol.ParseReceipt(accepted.Receipt, serverKeys(t, d))
			if err != nil || receipt.State != c.state || receipt.Attestation != d.enrolled.Attestation {
				t.Errorf("the receipt is %+v, %v", receipt, err)
			}
			got := bank.read(tx.ID)
			if got.Status != c.state || got.Evidence == nil || got.Evidence.Receipt != accepted.Receipt {
				t.Fatalf("the relying party reads %+v", got)
			}
			v, err := got.Evidence.Verify(s.Roots())
			if err != nil {
				t.Fatal(err)
			}
			if v.Key.Role != c.role || v.Request.ID != tx.ID {
				t.Errorf("the evidence proves %+v", v)
			}
			if _, err := got.Evidence.Verify(nil); err != nil {
				t.Errorf("by its own root: %v", err)
			}
			refuseAltered(t, got.Evidence, s.Roots())
		})
	}
}

// refuseAltered flips a byte of each part of evidence in turn.
func refuseAltered(t *testing.T, e *protocol.Evidence, roots *x509.CertPool) {
	t.Helper()
	for name, part := range map[string]func(*protocol.Evidence) *string{
		"request":  func(e *protocol.Evidence) *string { return &e.Request },
		"decision": func(e *protocol.Evidence) *string { return &e.Decision },
		"receipt":  func(e *protocol.Evidence) *string { return &e.Receipt },
	} {
		altered := *e
		p := part(&altered)
		*p = alter(*p)
		if _, err := altered.Verify(roots); err == nil {
			t.Errorf("evidence with an altered %s verifies", name)
		}
	}
}

// alter changes a character in the payload of a JWS.
func alter(compact string) string {
	b := []byte(compact)
	i := strings.IndexByte(compact, '.') + 20
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}

func TestNotMe(t *testing.T) {
	_, bank, d := scene(t)
	tx := bank.start("login", "alice")
	d.notMe(tx.ID)
	if got := bank.read(tx.ID); got.Status != protocol.StateDenied || got.Reason != protocol.ReasonNotMe {
		t.Errorf("the relying party reads %+v", got)
	}
}

func TestSameDecisionSameAnswer(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	compact, r := d.request(tx.ID)
	wrong := d.sign(d.decision(compact, r, protocol.Approve, other(tx.Number)))
	right := d.sign(d.decision(compact, r, protocol.Approve, tx.Number))
	rejected := d.send(tx.ID, wrong)
	d.send(tx.ID, wrong)
	accepted := d.send(tx.ID, right).want(t, http.StatusOK)
	s.Restart()
	for _, c := range []struct {
		sent string
		was  answer
	}{{wrong, rejected}, {right, accepted}} {
		a := d.send(tx.ID, c.sent)
		if a.status != c.was.status || !bytes.Equal(a.body, c.was.body) || a.header.Get("Content-Type") != c.was.header.Get("Content-Type") {
			t.Errorf("answered %d %s, before %d %s", a.status, a.body, c.was.status, c.was.body)
		}
	}
	if p := rejected.refused(t, http.StatusUnprocessableEntity, protocol.ProblemWrongNumber); *p.TriesLeft != 2 {
		t.Errorf("tries left: %d", *p.TriesLeft)
	}
	p := d.send(tx.ID, d.sign(d.decision(compact, r, protocol.Deny, ""))).refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided)
	if p.State != protocol.StateApproved {
		t.Errorf("another decision hears %s", p.State)
	}
}

// other is a number that is not n.
func other(n string) string {
	if n == "000000" {
		return "000001"
	}
	return "000000"
}

func TestThreeWrongNumbersOverAllDevices(t *testing.T) {
	s, bank, d := scene(t)
	e := enrollDevice(t, s, alice)
	tx := bank.start("confirm", "alice")
	for i, from := range []*device{d, e, d} {
		compact, r := from.request(tx.ID)
		dec := from.decision(compact, r, protocol.Approve, other(tx.Number))
		dec.IssuedAt += int64(i)
		sent := from.sign(dec)
		p := from.send(tx.ID, sent).refused(t, http.StatusUnprocessableEntity, protocol.ProblemWrongNumber)
		rejection, err := protocol.ParseRejection(p.Rejection, serverKeys(t, from))
		if err != nil {
			t.Fatal(err)
		}
		state := protocol.StatePending
		if i == 2 {
			state = protocol.StateFailed
		}
		if *p.TriesLeft != 2-i || rejection.TriesLeft != 2-i || rejection.State != state || p.State != state ||
			rejection.Decision != protocol.Hash([]byte(sent)) || rejection.Audience != from.enrolled.Device {
			t.Errorf("try %d: %+v, %+v", i, p, rejection)
		}
	}
	got := bank.read(tx.ID)
	if got.Status != protocol.StateFailed || got.Reason != protocol.ProblemWrongNumber || got.Evidence != nil {
		t.Errorf("the relying party reads %+v", got)
	}
	if len(d.pending()) != 0 {
		t.Error("a failed transaction is still pending")
	}
}

func TestDecisionRefused(t *testing.T) {
	s, bank, d := scene(t)
	e := enrollDevice(t, s, alice)
	login, confirm := bank.start("login", "alice"), bank.start("confirm", "alice")
	compact, r := d.request(login.ID)
	approve := func(change func(*protocol.Decision)) *protocol.Decision {
		dec := d.decision(compact, r, protocol.Approve, login.Number)
		change(dec)
		return dec
	}
	same := func(*protocol.Decision) {}
	theirs, theirRequest := e.request(login.ID)
	for name, c := range map[string]struct {
		sent   string
		status int
		code   string
	}{
		"device key":        {d.signWith(d.device, approve(same)), http.StatusForbidden, protocol.ProblemRoleForbidden},
		"approval key":      {d.signWith(d.approval, d.decision(compact, r, protocol.Deny, "")), http.StatusForbidden, protocol.ProblemRoleForbidden},
		"class too low":     {d.signWith(d.device, approve(func(d *protocol.Decision) { d.UV.Class = protocol.C1 })), 422, protocol.CodeMismatch},
		"unknown key":       {d.signWith(newKey(t), approve(same)), 422, protocol.CodeUnknownKey},
		"altered":           {alter(d.sign(approve(same))), 422, protocol.CodeBadSignature},
		"not a JWS":         {"nonsense", http.StatusBadRequest, protocol.CodeBadJWS},
		"line end":          {d.sign(approve(same)) + "\n", http.StatusBadRequest, protocol.CodeBadJWS},
		"empty":             {"", http.StatusBadRequest, protocol.CodeBadJWS},
		"no number":         {d.sign(approve(func(d *protocol.Decision) { d.Number = "" })), 422, protocol.CodeMismatch},
		"other display":     {d.sign(approve(func(d *protocol.Decision) { d.TimeZone = "Asia/Tokyo" })), 422, protocol.CodeMismatch},
		"other request":     {d.sign(approve(func(d *protocol.Decision) { d.Request = d.Display })), 422, protocol.CodeMismatch},
		"other transaction": {d.sign(approve(func(d *protocol.Decision) { d.ID = confirm.ID })), 422, protocol.CodeMismatch},
		"other device":      {e.sign(e.decision(theirs, theirRequest, protocol.Approve, login.Number)), 422, protocol.CodeUnknownKey},
		"too large":         {strings.Repeat("a", protocol.MaxMessage+1), http.StatusRequestEntityTooLarge, protocol.ProblemBodyTooLarge},
	} {
		t.Run(name, func(t *testing.T) { d.send(login.ID, c.sent).refused(t, c.status, c.code) })
	}
	good := d.sign(approve(same))
	d.send("t_x", good).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	d.send(confirm.ID, good).refused(t, 422, protocol.CodeMismatch)
	d.call(t.Context(), http.MethodPost, protocol.PathRequests+"/"+login.ID+"/decision", []byte(good), "Content-Type", "text/plain").
		refused(t, http.StatusUnsupportedMediaType, protocol.ProblemBadRequest)
	d.send(login.ID, good).want(t, http.StatusOK)
}

func TestRefusalsAreLoggedOnceWithoutWhatWasSent(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	compact, r := d.request(tx.ID)
	sent := d.sign(d.decision(compact, r, protocol.Approve, other(tx.Number)))
	d.send(tx.ID, sent).want(t, 422)
	d.send("t_gone", sent).want(t, 404)
	logged := s.Log()
	for _, code := range []string{protocol.ProblemWrongNumber, protocol.ProblemNotFound} {
		if n := strings.Count(logged, `"code":"`+code+`"`); n != 1 {
			t.Errorf("%s is logged %d times", code, n)
		}
	}
	for _, part := range []string{sent, strings.Split(sent, ".")[1], tx.Number} {
		if strings.Contains(logged, part) {
			t.Error("the log repeats what was sent")
		}
	}
}

func TestOneOfManyDecisionsCounts(t *testing.T) {
	const devices, each = 10, 20
	s := startWithAlice(t, enroll.Policy{})
	bank := newParty(t, s, "Bank")
	players := make([]*device, devices)
	for i := range players {
		players[i] = enrollDevice(t, s, alice)
	}
	tx := bank.start("login", "alice")
	type shot struct {
		from *device
		sent string
	}
	var shots []shot
	for i, d := range players {
		compact, r := d.request(tx.ID)
		for j := range each {
			dec := d.decision(compact, r, []string{protocol.Approve, protocol.Deny}[(i+j)%2], tx.Number)
			dec.IssuedAt += int64(j)
			shots = append(shots, shot{d, d.sign(dec)})
		}
	}
	accepted, lost := race(len(shots), func(i int) answer { return shots[i].from.send(tx.ID, shots[i].sent) })
	final := bank.read(tx.ID).Status
	for _, a := range lost {
		if p := a.refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided); p.State != final {
			t.Errorf("a decision hears %s, the transaction is %s", p.State, final)
		}
	}
	if accepted != 1 || !final.Final() {
		t.Errorf("%d decisions were accepted; the transaction is %s", accepted, final)
	}
}

func TestCancelAndDecisionRace(t *testing.T) {
	_, bank, d := scene(t)
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			tx := bank.start("confirm", "alice")
			compact, r := d.request(tx.ID)
			sent := d.sign(d.decision(compact, r, protocol.Approve, tx.Number))
			var both sync.WaitGroup
			var decided, cancelled answer
			both.Go(func() { decided = d.send(tx.ID, sent) })
			both.Go(func() { cancelled = bank.post("/v1/transactions/"+tx.ID+"/cancel", nil) })
			both.Wait()
			final := bank.read(tx.ID).Status
			switch {
			case final == protocol.StateApproved && decided.status == 200 && cancelled.status == 409:
			case final == protocol.StateCancelled && decided.status == 409 && cancelled.status == 200:
			default:
				t.Errorf("decision %d, cancel %d, and the transaction is %s", decided.status, cancelled.status, final)
			}
		})
	}
}

package agent

import (
	"fmt"
	"strings"
	"testing"

	"countersign/agent/policy"
	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// TestDemand hands in answers of every kind to requests of every kind: an
// approval never brings less than the class takes, and says no more than was
// brought.
func TestDemand(t *testing.T) {
	k := newKit(t)
	classes := []protocol.Class{protocol.C0, protocol.C1, protocol.C2, protocol.C3}
	for _, class := range classes {
		for _, surface := range []string{protocol.SurfacePrompt, protocol.SurfaceTTY, protocol.SurfaceCLI, "", "root"} {
			for _, high := range []bool{false, true} {
				for _, where := range append(policy.Approvals(), "") {
					for _, number := range []string{"", "123456", "12345", "1234567", "12a456", "１２"} {
						for _, pin := range []string{"", testPIN, "12345", strings.Repeat("1", 64)} {
							k.agent.cfg.Policy.LocalApprovals = where
							for _, touch := range []bool{false, true} {
								checkDemand(t, k, class, surface, high, number, pin, touch)
							}
						}
					}
				}
			}
		}
	}
}

func checkDemand(t *testing.T, k *kit, class protocol.Class, surface string, high bool, number, pin string, touch bool) {
	t.Helper()
	r := k.request("tx", class)
	r.HighValue = high
	record, err := protocol.Display(r, protocol.DisplayVersion, language, "UTC")
	if err != nil {
		t.Fatal(err)
	}
	ans := ipc.Answer{
		RequestHash: protocol.Hash([]byte("compact")), DisplayHash: record.Hash(),
		Decision: protocol.Approve, Surface: surface, Number: number, PIN: secret.New([]byte(pin)),
	}
	d, err := k.agent.draft(&item{req: r, compact: "compact"}, ans, hsm.Protection{Touch: touch})
	numberGood := number == "123456"
	if class == protocol.C0 {
		numberGood = number == ""
	}
	where := k.agent.cfg.Policy.LocalApprovals
	surfaceGood := surface == protocol.SurfacePrompt ||
		surface == protocol.SurfaceTTY && where != policy.InPrompts ||
		surface == protocol.SurfaceCLI && !high && (where == "" || where == policy.Anywhere)
	good := (class < protocol.C3 || touch) && numberGood && surfaceGood && (class < protocol.C2 || pin == testPIN)
	name := fmt.Sprintf("%v by %q, high value %v, approvals in %q, number %q, PIN of %d, touch %v", class, surface, high, where, number, len(pin), touch)
	if (err == nil) != good {
		t.Errorf("%s: %v", name, err)
	}
	if err != nil {
		if code := codeOf(err); strings.HasPrefix(code, "not an") || code == ipc.CodeInternal {
			t.Errorf("%s: no code of its own: %v", name, err)
		}
		return
	}
	method := map[protocol.Class]string{protocol.C2: protocol.UVPIN, protocol.C3: protocol.UVTouch}[class]
	if method == "" {
		method = protocol.UVNone
	}
	if d.UV != (protocol.UV{Method: method, Class: class, Surface: surface}) || d.Number != number {
		t.Errorf("%s: signed would be %+v with number %q", name, d.UV, d.Number)
	}
}

func TestDenyTakesNothing(t *testing.T) {
	k := newKit(t)
	for _, class := range []protocol.Class{protocol.C0, protocol.C1, protocol.C2, protocol.C3} {
		id := "tx" + class.String()
		k.list(1000, k.sign(k.request(id, class)))
		approvals := k.approval.uses()
		e, err := k.decide(id, protocol.Deny)
		if err != nil || k.approval.uses() != approvals {
			t.Errorf("%v: %v", class, err)
			continue
		}
		keys, err := protocol.NewKeys(k.device.Public())
		if err != nil {
			t.Fatal(err)
		}
		if d, err := protocol.ParseDecision(e.Decision, keys); err != nil || d.Decision != protocol.Deny || d.UV.Class != protocol.C0 {
			t.Errorf("%v: %+v %v", class, d, err)
		}
	}
	ans := ipc.Answer{Decision: protocol.Deny, Reason: "why not", Surface: protocol.SurfacePrompt}
	r := k.request("tx", protocol.C0)
	record, _ := protocol.Display(r, protocol.DisplayVersion, language, "UTC")
	ans.RequestHash, ans.DisplayHash = protocol.Hash(nil), record.Hash()
	if _, err := k.agent.draft(&item{req: r}, ans, hsm.Protection{}); codeOf(err) != ipc.CodeBadRequest {
		t.Errorf("a reason of its own: %v", err)
	}
}

// TestMismatch: an answer about anything else than what is pending is none.
func TestMismatch(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("tx", protocol.C1)), k.sign(k.request("other", protocol.C1)))
	good, other := k.answer("tx", protocol.Approve), k.answer("other", protocol.Approve)
	it, _, err := k.agent.pending.show(scopeOf(testUID), "tx")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []ipc.Answer{
		other,
		{RequestHash: good.RequestHash, DisplayHash: protocol.Hash(nil), Decision: good.Decision, Number: good.Number, Surface: good.Surface},
		{RequestHash: other.RequestHash, DisplayHash: good.DisplayHash, Decision: good.Decision, Number: good.Number, Surface: good.Surface},
	} {
		if _, err := k.agent.draft(it, a, hsm.Protection{}); codeOf(err) != ipc.CodeMismatch {
			t.Errorf("got %v", err)
		}
	}
	if _, err := k.agent.draft(it, good, hsm.Protection{}); err != nil {
		t.Error(err)
	}
}

// TestDecideAcrossRestarts: decisions chain, each is made once, and a wrong
// PIN leaves no trace in the chain.
func TestDecideAcrossRestarts(t *testing.T) {
	k := newKit(t)
	a, b := k.sign(k.request("a", protocol.C2)), k.sign(k.request("b", protocol.C1))
	k.list(1000, a, b)
	wrong := k.answer("a", protocol.Approve)
	wrong.PIN = secret.New([]byte("000000"))
	if _, err := k.agent.decide(t.Context(), scopeOf(testUID), "a", wrong); codeOf(err) != ipc.CodeWrongPIN {
		t.Errorf("a wrong PIN: %v", err)
	}
	if k.status("a") != statusPending {
		t.Errorf("after a wrong PIN it is %s", k.status("a"))
	}
	first, err := k.decide("a", protocol.Approve)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.decide("a", protocol.Deny); codeOf(err) != ipc.CodeNotDecidable {
		t.Errorf("decided twice: %v", err)
	}
	k.restart()
	k.list(1000, a, b)
	if _, err := k.decide("a", protocol.Deny); codeOf(err) != ipc.CodeNotDecidable || k.status("a") != statusUnconfirmed {
		t.Errorf("decided again after a restart: %v, it is %s", err, k.status("a"))
	}
	second, err := k.decide("b", protocol.Approve)
	if err != nil {
		t.Fatal(err)
	}
	device, _ := protocol.NewKeys(k.device.Public())
	approval, _ := protocol.NewKeys(k.approval.Public())
	one, err1 := protocol.ParseDecision(first.Decision, approval)
	two, err2 := protocol.ParseDecision(second.Decision, device)
	if err1 != nil || err2 != nil || one.Prev != protocol.NoPrev || two.Prev != protocol.Hash([]byte(first.Decision)) {
		t.Errorf("the chain: %v %v", err1, err2)
	}
	entries, err := k.dir.Entries(k.id)
	if err != nil || len(entries) != 2 || entries[0].State != state.Queued {
		t.Errorf("stored: %d %v", len(entries), err)
	}
	if strings.Contains(k.log.String(), testPIN) {
		t.Error("the PIN is in the log")
	}
}

// TestCallerIsGone: nothing is signed for a process that has ended.
func TestCallerIsGone(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	scope := ipc.Scope{Peer: ipc.Peer{UID: testUID, PID: 1 << 30}}
	used := k.device.uses()
	if _, err := k.agent.decide(t.Context(), scope, "a", k.answer("a", protocol.Approve)); codeOf(err) != ipc.CodeForbidden {
		t.Errorf("got %v", err)
	}
	if k.device.uses() != used || k.status("a") != statusPending {
		t.Errorf("signed, or over: %s", k.status("a"))
	}
}

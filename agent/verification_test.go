package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/agent/state"
	"countersign/agent/verify"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

// verifyKit is an agent with a plug-in: a program that notes each run and does
// what a text says, in which DIR is dir.
type verifyKit struct {
	*kit
	dir, program string
}

// replies has a plug-in answer.
func replies(verified string) string {
	return `IFS= read -r line
nonce=$(printf '%s' "$line" | sed 's/.*"nonce":"\([A-Z0-9]*\)".*/\1/')
printf '{"version":1,"nonce":"%s","verified":` + verified + `}\n' "$nonce"
`
}

func newVerifyKit(t *testing.T, text string) *verifyKit {
	t.Helper()
	testenv.Need(t, "sh")
	v := &verifyKit{kit: newKit(t), dir: t.TempDir()}
	v.program = filepath.Join(v.dir, "plugin")
	v.write(strings.ReplaceAll("#!/bin/sh\necho run >> DIR/runs\n"+text, "DIR", v.dir))
	p, err := verify.NewPlugin(v.program, time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	v.agent.cfg.Verifiers = map[string]Means{protocol.MethodCustom: {Name: ipc.VerifyPlugin, UV: protocol.UVPlugin, Verifier: p}}
	return v
}

// write writes the program. Nothing is forked meanwhile, as a child would hold
// it open for writing.
func (v *verifyKit) write(text string) {
	v.t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := testenv.WriteProgram(v.program, []byte(text), 0o755); err != nil {
		v.t.Fatal(err)
	}
}

func (v *verifyKit) runs() int {
	data, _ := os.ReadFile(filepath.Join(v.dir, "runs"))
	return strings.Count(string(data), "run\n")
}

// custom is a request that asks for the custom authenticator.
func (v *verifyKit) custom(class protocol.Class) *protocol.Request {
	r := v.request("tx", class)
	r.Method = protocol.MethodCustom
	return r
}

// approve decides without, or with, the PIN.
func (v *verifyKit) approve(ctx context.Context, pin string) (*protocol.Decision, error) {
	v.t.Helper()
	ans := v.answer("tx", protocol.Approve)
	ans.PIN = secret.New([]byte(pin))
	it, claim, err := v.agent.pending.claim(scopeOf(testUID), "tx")
	if err != nil {
		return nil, err
	}
	e, err := v.agent.commit(ctx, scopeOf(testUID), v.profile, it, ans)
	if err != nil {
		v.agent.pending.settle(it, claim, statusPending)
		return nil, err
	}
	v.agent.pending.settle(it, claim, statusUnconfirmed)
	return v.signed(e), nil
}

// signed reads a decision, which only the key of its class has signed.
func (v *verifyKit) signed(e state.Entry) *protocol.Decision {
	v.t.Helper()
	for _, key := range []*softKey{v.device, v.approval} {
		keys, err := protocol.NewKeys(key.Public())
		if err != nil {
			v.t.Fatal(err)
		}
		if d, err := protocol.ParseDecision(e.Decision, keys); err == nil {
			if (key == v.approval) != (d.UV.Class >= protocol.C2) {
				v.t.Errorf("class %v is signed by the wrong key", d.UV.Class)
			}
			return d
		}
	}
	v.t.Fatal("the decision is signed by neither key")
	return nil
}

// display is what the caller is shown.
func (v *verifyKit) display() (string, bool) {
	v.t.Helper()
	it, _, err := v.agent.pending.show(scopeOf(testUID), "tx")
	if err != nil {
		v.t.Fatal(err)
	}
	offer := ""
	if !v.agent.pinNeeded(it) {
		offer = v.agent.offer(v.t.Context(), scopeOf(testUID), it)
	}
	return offer, offer == ""
}

// TestVerifiedByTheService: a yes makes an approval of class C1 and no more,
// once, and the owner's helpers are told what to do.
func TestVerifiedByTheService(t *testing.T) {
	v := newVerifyKit(t, replies("true"))
	owner := v.agent.events.subscribe(scopeOf(testUID).Covers, testUID, false)
	other := v.agent.events.subscribe(scopeOf(testUID+1).Covers, testUID+1, false)
	v.list(1000, v.sign(v.custom(protocol.C1)))
	<-owner.events
	if offer, pin := v.display(); offer != ipc.VerifyPlugin || pin {
		t.Errorf("offered %q, PIN needed %v", offer, pin)
	}
	d, err := v.approve(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if d.UV.Method != protocol.UVPlugin || d.UV.Class != protocol.C1 || v.runs() != 1 {
		t.Errorf("signed %+v after %d runs", d.UV, v.runs())
	}
	if got := <-owner.events; got.Kind != ipc.EventVerify || got.Hint != verify.HintElsewhere || got.Request == nil || got.Request.ID != "tx" {
		t.Errorf("told %+v", got)
	}
	if len(other.events) != 0 {
		t.Error("another user was told")
	}
}

// TestPINInsteadOfVerification: the PIN is always an alternative, and where the
// class takes it there is none to it.
func TestPINInsteadOfVerification(t *testing.T) {
	for name, c := range map[string]struct {
		class  protocol.Class
		method string
		change func(*verifyKit)
		offer  string
	}{
		"an alternative": {class: protocol.C1, offer: ipc.VerifyPlugin},
		"class C2":       {class: protocol.C2},
		"local floor":    {class: protocol.C1, change: func(v *verifyKit) { v.agent.cfg.Policy.ClassFloor = protocol.C2 }},
		"asked too much": {class: protocol.C1, change: func(v *verifyKit) {
			for range 3 {
				v.agent.attention.strike(testUID)
			}
		}},
		"not configured": {class: protocol.C1, change: func(v *verifyKit) { v.agent.cfg.Verifiers = nil }},
		"another method": {class: protocol.C1, method: protocol.MethodFingerprint},
		"broken plug-in": {class: protocol.C1, change: func(v *verifyKit) { _ = os.Chmod(v.program, 0o777) }},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifyKit(t, replies("true"))
			if c.change != nil {
				c.change(v)
			}
			r := v.custom(c.class)
			if c.method != "" {
				r.Method = c.method
			}
			v.list(1000, v.sign(r))
			if offer, pin := v.display(); offer != c.offer || pin != (c.offer == "") {
				t.Errorf("offered %q, PIN needed %v", offer, pin)
			}
			if c.offer == "" {
				if _, err := v.approve(t.Context(), ""); codeOf(err) != ipc.CodePINRequired && codeOf(err) != ipc.CodeVerifyUnavailable {
					t.Errorf("without a PIN: %v", err)
				}
			}
			d, err := v.approve(t.Context(), testPIN)
			if err != nil || d.UV.Method != protocol.UVPIN || d.UV.Class != protocol.C2 || v.runs() != 0 {
				t.Errorf("signed %+v, %v, after %d runs", d, err, v.runs())
			}
		})
	}
}

// TestNotRecognized: from then on the request takes the PIN, and that somebody
// else was there is on record.
func TestNotRecognized(t *testing.T) {
	v := newVerifyKit(t, replies("false"))
	v.list(1000, v.sign(v.custom(protocol.C1)))
	if _, err := v.approve(t.Context(), ""); codeOf(err) != ipc.CodeVerifyFailed {
		t.Fatalf("got %v", err)
	}
	if v.status("tx") != statusPending {
		t.Errorf("the request is %s", v.status("tx"))
	}
	if offer, pin := v.display(); offer != "" || !pin {
		t.Errorf("offered %q, PIN needed %v", offer, pin)
	}
	if _, err := v.approve(t.Context(), ""); codeOf(err) != ipc.CodePINRequired || v.runs() != 1 {
		t.Errorf("again: %v, after %d runs", err, v.runs())
	}
	if kinds := v.audited(); !slices.Contains(kinds, recordUnrecognized) || slices.Contains(kinds, recordMade) {
		t.Errorf("on record: %v", kinds)
	}
	if _, err := v.approve(t.Context(), testPIN); err != nil {
		t.Errorf("with the PIN: %v", err)
	}
}

// TestVerificationIsForWhatStillHolds: what was true when the person answered is
// checked again after they were verified.
func TestVerificationIsForWhatStillHolds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*verifyKit, context.CancelFunc)
		code   string
	}{
		"cancelled": {func(v *verifyKit, _ context.CancelFunc) { v.agent.pending.end(v.id, "tx", protocol.StateCancelled) }, ipc.CodeNotDecidable},
		"gone":      {func(_ *verifyKit, cancel context.CancelFunc) { cancel() }, ""},
		"asked too much": {func(v *verifyKit, _ context.CancelFunc) {
			for range 3 {
				v.agent.attention.strike(testUID)
			}
			v.goOn()
		}, ipc.CodePINRequired},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifyKit(t, "while [ ! -e DIR/go ]; do sleep 0.05; done\n"+replies("true"))
			v.list(1000, v.sign(v.custom(protocol.C1)))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := v.approve(ctx, "")
				done <- err
			}()
			testenv.Eventually(t, "the plug-in runs", func() bool { return v.runs() == 1 })
			// Nothing is held meanwhile.
			if len(v.profile.outbox.turn) != 0 {
				t.Error("the outbox is taken")
			}
			c.change(v, cancel)
			if err := <-done; err == nil || c.code != "" && codeOf(err) != c.code {
				t.Errorf("got %v, want %q", err, c.code)
			}
			if slices.Contains(v.audited(), recordMade) {
				t.Error("a decision is on record")
			}
		})
	}
}

// goOn lets the plug-in answer.
func (v *verifyKit) goOn() {
	v.t.Helper()
	if err := os.WriteFile(filepath.Join(v.dir, "go"), nil, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

// TestDoctorLooksAtVerifiers and is quiet about what is not there.
func TestDoctorLooksAtVerifiers(t *testing.T) {
	v := newVerifyKit(t, replies("true"))
	find := func() ipc.Check {
		checks := v.doctor()
		i := slices.IndexFunc(checks, func(c ipc.Check) bool { return c.Code == "verify_plugin" })
		if i < 0 {
			t.Fatalf("nothing of it in %+v", checks)
		}
		return checks[i]
	}
	if c := find(); c.Status != ipc.CheckOK {
		t.Errorf("got %+v", c)
	}
	if err := os.Chmod(v.program, 0o777); err != nil {
		t.Fatal(err)
	}
	if c := find(); c.Status != ipc.CheckWarn || c.Cure == "" {
		t.Errorf("got %+v", c)
	}
}

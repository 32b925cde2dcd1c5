package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

func pinAuth() hsm.Auth { return hsm.Auth{PIN: secret.New([]byte(testPIN))} }

// touchKit has an approval key that waits for a touch.
func touchKit(t *testing.T) *kit {
	t.Helper()
	k := newKit(t)
	s := k.profile.get()
	s.ApprovalKey.Touch = true
	if err := k.dir.SaveProfile(s); err != nil {
		t.Fatal(err)
	}
	k.approval.protection.Touch = true
	k.chip.waiting, k.chip.touch = make(chan struct{}), make(chan struct{})
	k.restart()
	return k
}

// TestTouchIsAskedForAndSigned: the owner's helpers are told, for which
// request, and nobody else's; then the decision says what was done.
func TestTouchIsAskedForAndSigned(t *testing.T) {
	k := touchKit(t)
	owner := k.agent.events.subscribe(scopeOf(testUID).Covers, testUID, false)
	other := k.agent.events.subscribe(scopeOf(testUID+1).Covers, testUID+1, false)
	k.list(1000, k.sign(k.request("tx", protocol.C3)))
	<-owner.events // it waits
	go func() {
		<-k.chip.waiting
		close(k.chip.touch)
	}()
	e, err := k.decide("tx", protocol.Approve)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-owner.events; got.Kind != ipc.EventTouch || got.Request == nil || got.Request.ID != "tx" {
		t.Errorf("told: %+v", got)
	}
	if len(other.events) != 0 {
		t.Error("another user was told")
	}
	keys, err := protocol.NewKeys(k.approval.Public())
	if err != nil {
		t.Fatal(err)
	}
	d, err := protocol.ParseDecision(e.Decision, keys)
	if err != nil || d.UV.Method != protocol.UVTouch || d.UV.Class != protocol.C3 {
		t.Errorf("signed: %+v, %v", d, err)
	}
}

// TestTouchEndsWithItsRequest: when the request is over, or the caller is gone,
// the token is not waited for and nothing is signed.
func TestTouchEndsWithItsRequest(t *testing.T) {
	for name, end := range map[string]struct {
		how  func(k *kit, cancel context.CancelFunc)
		code string
	}{
		"cancelled": {func(k *kit, _ context.CancelFunc) { k.agent.pending.end(k.id, "tx", protocol.StateCancelled) }, ipc.CodeNotDecidable},
		"gone":      {func(_ *kit, cancel context.CancelFunc) { cancel() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := touchKit(t)
			k.list(1000, k.sign(k.request("tx", protocol.C3)))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			go func() {
				<-k.chip.waiting
				end.how(k, cancel)
			}()
			_, err := k.agent.decide(ctx, scopeOf(testUID), "tx", k.answer("tx", protocol.Approve))
			if end.code != "" && codeOf(err) != end.code || end.code == "" && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if k.approval.uses() != 0 {
				t.Error("something was signed")
			}
			if want := map[string]string{"cancelled": "cancelled", "gone": statusPending}[name]; k.status("tx") != want {
				t.Errorf("it is %s, want %s", k.status("tx"), want)
			}
		})
	}
}

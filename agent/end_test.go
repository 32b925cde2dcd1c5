package agent

import (
	"context"
	"net/http"
	"testing"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

func gone(successor string) *protocol.Problem {
	return &protocol.Problem{Status: http.StatusGone, Code: protocol.ProblemRevoked, Detail: "over", Successor: successor}
}

// present reports whether the agent, and its directory, know a profile.
func (k *kit) present(id string) bool {
	k.t.Helper()
	list, err := k.dir.Profiles()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == id {
			return true
		}
	}
	_, known := k.agent.profile(id)
	return known
}

// TestWhatIsOver: an enrollment that the server ends goes by itself where its
// owner wanted that, or has enrolled anew here. Nothing else does.
func TestWhatIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		prepare   func(k *kit)
		successor string
		gone      bool
	}{
		"revoked": {func(*kit) {}, "", false},
		"its owner leaves": {func(k *kit) {
			if err := k.profile.setLeaving(true); err != nil {
				t.Error(err)
			}
		}, "", true},
		"its owner left, and the server went on": {func(k *kit) {
			if err := k.profile.setLeaving(true); err != nil {
				t.Error(err)
			}
			k.profile.BeforeFetch()
			k.profile.Reached(nil)
		}, "", false},
		"replaced elsewhere":          {func(*kit) {}, "d_elsewhere", false},
		"replaced here":               {func(k *kit) { k.another("p_new00000", "d_new00000", testUID) }, "d_new00000", true},
		"replaced by another user":    {func(k *kit) { k.another("p_new00000", "d_new00000", testUID+1) }, "d_new00000", false},
		"another enrollment is here":  {func(k *kit) { k.another("p_new00000", "d_new00000", testUID) }, "d_elsewhere", false},
		"another enrollment, revoked": {func(k *kit) { k.another("p_new00000", "d_new00000", testUID) }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			c.prepare(k)
			held := len(k.chip.held())
			k.profile.revoked(gone(c.successor))
			k.profile.over(t.Context())
			if k.present(k.id) == c.gone {
				t.Errorf("the profile is there: %v", !c.gone)
			}
			if c.gone {
				held -= 2
			}
			if got := k.chip.held(); len(got) != held {
				t.Errorf("the chip holds %v", got)
			}
		})
	}
}

// another enrolls once more, and reads the state anew.
func (k *kit) another(id, device string, uid uint32) {
	k.t.Helper()
	first, d, a := k.id, k.device, k.approval
	k.enroll(id, uid, "https://127.0.0.1:1")
	k.restart()
	p, _ := k.agent.profile(id)
	if err := p.update(func(s *state.Profile) { s.Device = device }); err != nil {
		k.t.Fatal(err)
	}
	k.id, k.device, k.approval = first, d, a
	k.profile, _ = k.agent.profile(first)
}

// TestReplacedBeforeTheNewOneIsStored: the server's word about the old enrollment
// is there first, as when its answer to the new one got lost.
func TestReplacedBeforeTheNewOneIsStored(t *testing.T) {
	k := newKit(t)
	k.profile.revoked(gone("d_new00000"))
	k.profile.over(t.Context())
	if !k.present(k.id) {
		t.Fatal("the old profile went before there was a new one")
	}
	k.another("p_new00000", "d_new00000", testUID)
	p, _ := k.agent.profile("p_new00000")
	k.agent.clearReplaced(t.Context(), p.get())
	if k.present(k.id) || !k.present("p_new00000") || len(k.chip.held()) != 2 {
		t.Errorf("the chip holds %v", k.chip.held())
	}
}

// TestAStartGoesOnClearingAway where the last run was stopped.
func TestAStartGoesOnClearingAway(t *testing.T) {
	k := newKit(t)
	if err := k.profile.markOver("left"); err != nil {
		t.Fatal(err)
	}
	if err := k.device.Delete(t.Context(), hsm.Auth{}); err != nil {
		t.Fatal(err)
	}
	k.restart()
	k.profile.run(t.Context())
	if k.present(k.id) || len(k.chip.held()) != 0 {
		t.Errorf("the chip holds %v", k.chip.held())
	}
}

// TestKeysThatTakeAPersonAreListed when nobody is there to give the PIN.
func TestKeysThatTakeAPersonAreListed(t *testing.T) {
	for _, demand := range []error{hsm.ErrPINRequired, hsm.ErrAdminRequired} {
		k := newKit(t)
		k.chip.set(func() { k.chip.demand = demand })
		if err := k.profile.markOver("left"); err != nil {
			t.Fatal(err)
		}
		k.profile.over(t.Context())
		if k.present(k.id) || len(k.reservations()) != 2 {
			t.Errorf("%v: left over are %+v", demand, k.reservations())
		}
	}
}

// TestEndWithoutAServer changes nothing unless it is forced.
func TestEndWithoutAServer(t *testing.T) {
	k := newKit(t)
	end := func(force bool) (ipc.Ended, error) {
		return k.agent.end(t.Context(), scopeOf(testUID), k.id, ipc.End{Force: force})
	}
	if _, err := end(false); codeOf(err) != ipc.CodeServer {
		t.Errorf("without a server: %v", err)
	}
	if s := k.profile.get(); !k.present(k.id) || s.State != state.Active || s.Leaving || len(k.chip.held()) != 2 {
		t.Errorf("the profile is %+v", s)
	}
	k.profile.deviceSlot.changing.Store(true)
	if _, err := end(true); codeOf(err) != ipc.CodeBusy || len(k.chip.held()) != 2 {
		t.Errorf("while a key is made: %v", err)
	}
	k.profile.deviceSlot.changing.Store(false)
	out, err := end(true)
	if err != nil || out.ServerTold || k.present(k.id) || len(k.chip.held()) != 0 {
		t.Errorf("by force: %+v, %v", out, err)
	}
	if _, err := end(true); codeOf(err) != ipc.CodeNotEnrolled {
		t.Errorf("once more: %v", err)
	}
}

// TestEndStoppedByTheChip can be repeated.
func TestEndStoppedByTheChip(t *testing.T) {
	k := newKit(t)
	k.chip.set(func() { k.chip.err = hsm.ErrUnavailable })
	if _, err := k.agent.end(t.Context(), scopeOf(testUID), k.id, ipc.End{Force: true}); codeOf(err) != ipc.CodeChipUnavailable {
		t.Errorf("without the chip: %v", err)
	}
	k.chip.set(func() { k.chip.err = nil })
	if out, err := k.agent.end(t.Context(), scopeOf(testUID), k.id, ipc.End{}); err != nil || k.present(k.id) {
		t.Errorf("with it: %+v, %v", out, err)
	}
}

// TestUnfinishedEnrollmentsCount: each has keys in the chip.
func TestUnfinishedEnrollmentsCount(t *testing.T) {
	k := newKit(t)
	for range maxUnfinished {
		if err := k.agent.admitAttempt(testUID); err != nil {
			t.Fatal(err)
		}
		k.agent.limits.attempts.forgive(testUID)
		if err := k.dir.BeginEnrollment(&state.Enrollment{UID: testUID, Keys: state.Keys{Device: []byte("d"), Approval: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.agent.admitAttempt(testUID); codeOf(err) != ipc.CodeTooManyEnrolling {
		t.Errorf("got %v", err)
	}
	if err := k.agent.admitAttempt(testUID + 1); err != nil {
		t.Errorf("another user: %v", err)
	}
}

// TestRenewingTheDeviceKey in an agent: the new key signs and connects, and the old
// one is given back.
func TestRenewingTheDeviceKey(t *testing.T) {
	k := newKit(t)
	s := newRenewer(t, k)
	before, approval := k.profile.device(), k.profile.approval()
	out, err := k.profile.renewDevice(t.Context())
	if err != nil || !out.Renewed || !out.Settled {
		t.Fatalf("got %+v, %v", out, err)
	}
	if k.profile.device() == before || k.profile.approval() != approval || len(k.chip.held()) != 2 {
		t.Errorf("the chip holds %v", k.chip.held())
	}
	word, err := protocol.ParseSuccession(s.start.Succession, before.Public())
	if err != nil || word.Role != protocol.RoleDevice {
		t.Errorf("the old key says %+v, %v", word, err)
	}
	k.restart()
	if string(k.profile.device().reference) == string(before.reference) {
		t.Error("after a start the old key is back")
	}
}

// TestRenewalsDoNotMeet: while one key is renewed the other can be, and the same
// one cannot.
func TestRenewalsDoNotMeet(t *testing.T) {
	k := newKit(t)
	s := newRenewer(t, k)
	s.set(func() { s.fail["acknowledgement"] = &protocol.Problem{Status: http.StatusServiceUnavailable} })
	ctx := k.onceDeviceRenewed()
	if out, err := k.profile.renewDevice(ctx); err != nil || out.Settled {
		t.Fatalf("got %+v, %v", out, err)
	}
	if _, err := k.profile.renewDevice(t.Context()); codeOf(err) != ipc.CodeBusy {
		t.Errorf("once more: %v", err)
	}
	if checks := k.profile.checkCertificates(time.Now()); len(checks) != 1 || checks[0].Code != checkUnsettled {
		t.Errorf("doctor says %+v", checks)
	}
	if _, err := k.agent.end(t.Context(), scopeOf(testUID), k.id, ipc.End{}); codeOf(err) != ipc.CodeBusy {
		t.Errorf("the end meanwhile: %v", err)
	}
	if out, err := k.changePIN(k.onceRenewed(), testPIN, newPIN); err != nil || !out.NewKey {
		t.Errorf("the other key: %+v, %v", out, err)
	}
	s.set(func() { s.fail = map[string]*protocol.Problem{} })
	testenv.Eventually(t, "both old keys to go", func() bool { return len(k.chip.held()) == 2 })
}

// onceDeviceRenewed ends when the profile's device key is another.
func (k *kit) onceDeviceRenewed() context.Context {
	ctx, cancel := context.WithCancel(k.t.Context())
	before := k.profile.device()
	go func() {
		defer cancel()
		testenv.Eventually(k.t, "the key to change", func() bool { return k.profile.device() != before })
	}()
	return ctx
}

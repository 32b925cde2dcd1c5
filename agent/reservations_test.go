package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
)

// leave makes a chip hold what a Create reserved that was never finished.
func (k *kit) leave(r state.Reservation) {
	k.t.Helper()
	r.Provider, r.UID = kindTPM, testUID
	if err := k.dir.Reserve(r); err != nil {
		k.t.Fatal(err)
	}
	k.chip.set(func() { k.chip.reserved[string(r.Data)] = true })
}

func (k *kit) left(what string) bool {
	k.chip.mu.Lock()
	defer k.chip.mu.Unlock()
	return k.chip.reserved[what]
}

// TestLeftoversAreGoneWithinTenMinutes: what a crash left goes at the start.
// While the chip is away it stays in the journal, and goes within ten minutes
// of the chip's return; nothing else goes.
func TestLeftoversAreGoneWithinTenMinutes(t *testing.T) {
	k := newKit(t)
	k.leave(state.Reservation{Name: "one", Data: []byte("at the start")})
	k.chip.set(func() { k.chip.reserved["of another program"] = true })
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k.agent.reserved = newReservations(k.dir, k.agent.chips, k.agent.cfg.Log)
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.agent.reserved.sweep(ctx)
		}()
		synctest.Wait()
		if k.left("at the start") {
			t.Error("the leftover is there after the start")
		}
		k.leave(state.Reservation{Name: "two", Data: []byte("while the chip is away")})
		k.chip.set(func() { k.chip.err = hsm.ErrUnavailable })
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's clock
		if !k.left("while the chip is away") || !k.dir.Reserved("two") {
			t.Error("the journal forgot what the chip still holds")
		}
		k.chip.set(func() { k.chip.err = nil })
		time.Sleep(10 * time.Minute) //nolint:forbidigo // the bubble's clock
		if k.left("while the chip is away") || k.dir.Reserved("two") {
			t.Error("the leftover is there after ten minutes")
		}
		if !k.left("of another program") {
			t.Error("what is another program's is gone")
		}
		cancel()
		<-done
	})
}

// TestSweeperLeavesTheLiving: what is reserved for a key under way stays, and
// so does what a durable enrollment has made good, a crash in between included.
func TestSweeperLeavesTheLiving(t *testing.T) {
	k := newKit(t)
	r := k.agent.reserved
	alive, err := r.reserve(state.Reservation{Provider: kindTPM, Data: []byte("alive")})
	if err != nil {
		t.Fatal(err)
	}
	k.chip.set(func() { k.chip.reserved["alive"], k.chip.reserved["durable"] = true, true })
	r.sweepOnce(t.Context())
	if !k.left("alive") {
		t.Fatal("a key under way lost what was reserved for it")
	}
	r.drop(alive)
	r.sweepOnce(t.Context())
	if k.left("alive") || k.dir.Reserved(alive) {
		t.Error("what was dropped is still there")
	}
	durable := state.Reservation{Name: "durable", Provider: kindTPM, Data: []byte("durable")}
	e := &state.Enrollment{Server: "https://127.0.0.1:1", Reserved: []string{"durable"}}
	if err := errors.Join(k.dir.Reserve(durable), k.dir.BeginEnrollment(e)); err != nil {
		t.Fatal(err)
	}
	k.restart() // the crash came before the journal forgot
	k.agent.reserved.sweepOnce(t.Context())
	if !k.left("durable") {
		t.Error("a durable key lost its index")
	}
	if err := k.agent.reserved.settle(e.Reserved); err != nil || k.dir.Reserved("durable") {
		t.Errorf("not settled: %v", err)
	}
}

// TestOrphanedKeyWaitsForItsPerson: a key that a token gives up only for its
// PIN is listed until somebody brings it.
func TestOrphanedKeyWaitsForItsPerson(t *testing.T) {
	k := newKit(t)
	key, err := k.chip.Create(t.Context(), hsm.Template{})
	if err != nil {
		t.Fatal(err)
	}
	before := len(k.chip.held())
	k.chip.set(func() { k.chip.demand = hsm.ErrPINRequired })
	if err := k.agent.reserved.orphan(kindTPM, testUID, key.Reference()); err != nil {
		t.Fatal(err)
	}
	k.agent.reserved.sweepOnce(t.Context())
	left, err := k.agent.leftovers(scopeOf(testUID))
	if err != nil || len(left) != 1 || len(k.chip.held()) != before {
		t.Fatalf("left: %d, %v", len(left), err)
	}
	if others, err := k.agent.leftovers(scopeOf(testUID + 1)); err != nil || len(others) != 0 {
		t.Errorf("another user sees %d, %v", len(others), err)
	}
	if _, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID), left[0].Name, hsm.Auth{}); !errors.Is(err, hsm.ErrPINRequired) {
		t.Errorf("without the PIN: %v", err)
	}
	if _, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID), left[0].Name, pinAuth()); err != nil {
		t.Errorf("with the PIN: %v", err)
	}
	if left, _ := k.agent.leftovers(scopeOf(testUID)); len(left) != 0 || len(k.chip.held()) != before-1 {
		t.Error("it is still there")
	}
}

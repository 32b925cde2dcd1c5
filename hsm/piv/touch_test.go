//go:build cgo

package piv_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
)

func (r *rig) touched() hsm.Key {
	r.t.Helper()
	return r.create(hsm.Template{Auth: admin(), PINBound: true, Touch: true})
}

// signWithNotice signs and returns when, from the beginning, somebody was told
// to touch; 0 for never.
func signWithNotice(t testing.TB, key hsm.Key) (told time.Duration, err error) {
	t.Helper()
	start := time.Now()
	var when atomic.Int64
	var times atomic.Int32
	with := auth(rightPIN)
	with.Touch = func() { when.Store(int64(time.Since(start))); times.Add(1) }
	_, err = key.Sign(t.Context(), digest("x"), with)
	if times.Load() > 1 {
		t.Errorf("told %d times to touch", times.Load())
	}
	return time.Duration(when.Load()), err
}

func TestTouchNotice(t *testing.T) {
	r := newRig(t)
	key := r.touched()
	if told, err := signWithNotice(t, key); err != nil || told != 0 {
		t.Errorf("touched at once: told after %v, error %v", told, err)
	}
	r.card.TouchAfter(200 * time.Millisecond)
	if told, err := signWithNotice(t, key); err != nil || told != 0 {
		t.Errorf("touched soon: told after %v, error %v", told, err)
	}
	r.card.TouchAfter(1200 * time.Millisecond)
	if told, err := signWithNotice(t, key); err != nil || told < 500*time.Millisecond || told > time.Second {
		t.Errorf("touched late: told after %v, want half a second, error %v", told, err)
	}
	r.card.TouchAfter(time.Second)
	approval := r.approval()
	if told, err := signWithNotice(t, approval); err != nil || told != 0 {
		t.Errorf("a key without touch: told after %v, error %v", told, err)
	}
}

// No touch and a wrong PIN are told apart, although the card has one word for
// no touch and no PIN.
func TestNoTouch(t *testing.T) {
	r := newRig(t, virtualpiv.WithTouchTimeout(700*time.Millisecond))
	key := r.touched()
	r.card.TouchNever()
	told, err := signWithNotice(t, key)
	mustBe(t, "Sign without a touch", err, hsm.ErrNoTouch)
	if told == 0 {
		t.Error("nobody was told to touch")
	}
	awaited := r.card.TouchesAwaited()
	_, err = key.Sign(t.Context(), digest("x"), auth(wrongPIN))
	mustBe(t, "Sign with a wrong PIN", err, hsm.ErrWrongPIN)
	if r.card.TouchesAwaited() != awaited {
		t.Error("the card waited for a touch with a wrong PIN")
	}
	r.card.TouchAfter(0)
	mustSign(t, key, auth(rightPIN))
}

// A caller whose context ends gets away from a card that waits for its touch,
// is not told any more, and the next one gets the card when it is free.
func TestTouchIsGivenUp(t *testing.T) {
	r := newRig(t, virtualpiv.WithTouchTimeout(2*time.Second))
	key := r.touched()
	r.card.TouchNever()
	ctx, cancel := context.WithCancel(t.Context())
	with := auth(rightPIN)
	with.Touch = cancel
	start := time.Now()
	_, err := key.Sign(ctx, digest("x"), with)
	if gone := time.Since(start); !errors.Is(err, context.Canceled) || gone > time.Second {
		t.Errorf("a canceled Sign returned after %v with %v", gone, err)
	}
	awaited := r.card.TouchesAwaited()
	r.card.TouchAfter(0)
	mustSign(t, key, auth(rightPIN))
	if r.card.TouchesAwaited() != awaited+1 {
		t.Errorf("the card waited for %d touches, want %d", r.card.TouchesAwaited(), awaited+1)
	}
}

//go:build cgo

package piv_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/hsm/piv"
	"countersign/internal/testenv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// soon is how fast an error must have its name.
const soon = 2 * time.Second

// mustNameSoon runs f and expects the sentinel within two seconds.
func mustNameSoon(t testing.TB, what string, want error, f func() error) {
	t.Helper()
	start := time.Now()
	err := f()
	mustBe(t, what, err, want)
	mustBe(t, what, err, hsm.ErrUnavailable)
	if took := time.Since(start); took > soon {
		t.Errorf("%s: took %v to say so", what, took)
	}
}

// signs returns a Sign with the right PIN.
func signs(t testing.TB, key hsm.Key) func() error {
	return func() error {
		_, err := key.Sign(t.Context(), digest("x"), auth(rightPIN))
		return err
	}
}

// mustSignAgain expects a key to sign within five seconds after its card was
// inserted. pcscd may reset a card that it has just seen, and that is named too.
func mustSignAgain(t testing.TB, key hsm.Key) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	err := signs(t, key)()
	for errors.Is(err, hsm.ErrReset) && time.Now().Before(deadline) {
		err = signs(t, key)()
	}
	if err != nil {
		t.Errorf("with the card back: %v", err)
	}
}

// Whichever command the card is pulled at, that is what the error says, and the
// same key signs again when the card is back. This covers the moment in which
// piv-go opens the card, where it loses track of what it has opened.
func TestPulledAtEachCommand(t *testing.T) {
	fragile := &fragileCard{Card: newToken(t, virtualpiv.WithFirmware(firstNew))}
	for n := int32(1); ; n++ {
		fragile.survives.Store(-1)
		pcscd := testenv.StartPCSCD(t, fragile)
		pcscd.Use()
		r := &rig{t, fragile.Card, pcscd, piv.Open()}
		key := r.approval()
		fragile.survives.Store(n - 1)
		if err := signs(t, key)(); err == nil && n > 8 {
			return // the signature was there before
		} else if !errors.Is(err, hsm.ErrTokenAbsent) {
			t.Errorf("pulled at command %d: %v", n, err)
		}
		mustNameSoon(t, "pulled before", hsm.ErrTokenAbsent, signs(t, key))
		// What pcscd says of the reader is a guess until it has looked itself.
		testenv.Eventually(t, "pcscd has seen it", func() bool {
			return strings.Contains(pcscd.Log(), "Card Removed")
		})
		fragile.survives.Store(-1)
		pcscd.Reader(0).Insert(fragile)
		mustSignAgain(t, key)
	}
}

// fragileCard is gone after some commands; with -1 it stays.
type fragileCard struct {
	*virtualpiv.Card
	survives atomic.Int32
}

func (c *fragileCard) Transmit(ctx context.Context, command []byte) []byte {
	switch left := c.survives.Load(); {
	case left == 0:
		return nil
	case left > 0:
		c.survives.Store(left - 1)
	}
	return c.Card.Transmit(ctx, command)
}

// A card that is pulled when it has done the work, and before it can say so.
func TestPulledWithTheAnswer(t *testing.T) {
	for _, at := range []virtualpiv.Instruction{virtualpiv.Verify, virtualpiv.GeneralAuthenticate} {
		r := newRig(t, virtualpiv.WithFirmware(firstNew))
		key := r.approval()
		r.card.PullAfter(at)
		mustNameSoon(t, "pulled in the middle", hsm.ErrTokenAbsent, signs(t, key))
		r.pcscd.Reader(0).Insert(r.card)
		mustSignAgain(t, key)
	}
}

func TestPulledDuringTouch(t *testing.T) {
	r := newRig(t)
	key := r.touched()
	r.card.TouchNever()
	with := auth(rightPIN)
	var pulled time.Time
	with.Touch = func() { pulled = time.Now(); r.pcscd.Reader(0).Pull() }
	_, err := key.Sign(t.Context(), digest("x"), with)
	mustBe(t, "pulled while it waits for a touch", err, hsm.ErrTokenAbsent)
	if took := time.Since(pulled); took > soon {
		t.Errorf("took %v to say so", took)
	}
	r.card.TouchAfter(0)
	r.pcscd.Reader(0).Insert(r.card)
	mustSignAgain(t, key)
}

func TestNoReaderHasACard(t *testing.T) {
	testenv.StartPCSCD(t).Use()
	p := piv.Open()
	mustNameSoon(t, "Status", hsm.ErrTokenAbsent, func() error { _, err := p.Status(t.Context()); return err })
	mustNameSoon(t, "Create", hsm.ErrTokenAbsent, func() error {
		_, err := p.Create(t.Context(), hsm.Template{Auth: admin()})
		return err
	})
}

func TestServiceIsGone(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	r.pcscd.Kill()
	mustNameSoon(t, "Sign", hsm.ErrNoService, signs(t, key))
	mustNameSoon(t, "Status", hsm.ErrNoService, func() error { _, err := r.Status(t.Context()); return err })
	mustNameSoon(t, "Open", hsm.ErrNoService, func() error { _, err := r.Open(t.Context(), key.Reference()); return err })
	r.pcscd.Start()
	mustSign(t, key, auth(rightPIN))
	r.pcscd.Restart()
	mustSign(t, key, auth(rightPIN))
}

func TestServiceDiesDuringTouch(t *testing.T) {
	r := newRig(t)
	key := r.touched()
	r.card.TouchNever()
	with := auth(rightPIN)
	with.Touch = r.pcscd.Kill
	_, err := key.Sign(t.Context(), digest("x"), with)
	mustBe(t, "pcscd killed in the middle", err, hsm.ErrNoService)
	r.card.TouchAfter(0)
	r.pcscd.Start()
	mustSign(t, key, auth(rightPIN))
}

// A service that is stuck holds nobody: neither the first caller nor those
// behind.
func TestServiceHangs(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	stop(t, r.pcscd.Pid())
	for _, what := range []string{"the first caller", "the next caller"} {
		mustNameSoon(t, what, hsm.ErrUnavailable, signs(t, key))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := key.Sign(ctx, digest("x"), auth(rightPIN))
	mustBe(t, "a caller with little time", err, context.DeadlineExceeded)
	if err := syscall.Kill(r.pcscd.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, auth(rightPIN))
	if r.card.PINTriesLeft() != 3 {
		t.Error("a caller who gave up has cost a try")
	}
}

func stop(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
}

// Another program that keeps the card, in whatever way, is named; when it lets
// go, the key signs.
func TestBusy(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, reader string) (letGo func()){
		"exclusively": func(t *testing.T, reader string) func() {
			yk, err := yubico.Open(reader)
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = yk.Close() }
		},
		"shared":           func(t *testing.T, reader string) func() { return piv.HoldShared(t, reader, false) },
		"in a transaction": func(t *testing.T, reader string) func() { return piv.HoldShared(t, reader, true) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			key := r.approval()
			letGo := hold(t, r.pcscd.Reader(0).Name())
			for range 2 {
				mustNameSoon(t, "Sign", hsm.ErrBusy, signs(t, key))
			}
			letGo()
			mustSign(t, key, auth(rightPIN))
			if r.card.PINsSent() != 2 { // one at Create
				t.Errorf("the card saw %d PINs", r.card.PINsSent())
			}
		})
	}
}

// A program that has the card for a moment is waited for.
func TestBusyForAMoment(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	letGo := piv.HoldShared(t, r.pcscd.Reader(0).Name(), true)
	time.AfterFunc(300*time.Millisecond, letGo)
	mustSign(t, key, auth(rightPIN))
}

// A card without PIV is looked at and left alone: others can use it, and hold
// it, while we use our token, and after.
func TestForeignCardStaysUsable(t *testing.T) {
	bank, token := virtualpiv.New(t, virtualpiv.WithoutPIV()), newToken(t)
	pcscd := testenv.StartPCSCD(t, bank, token)
	pcscd.Use()
	r := &rig{t, token, pcscd, piv.Open()}
	key := r.approval()
	for range 3 {
		mustSign(t, key, auth(rightPIN))
		piv.HoldExclusively(t, pcscd.Reader(0).Name())()
	}
	letGo := piv.HoldExclusively(t, pcscd.Reader(0).Name())
	mustSign(t, key, auth(rightPIN))
	letGo()
	pcscd.Reader(1).Remove()
	_, err := r.Status(t.Context())
	mustBe(t, "only a bank card", err, hsm.ErrTokenAbsent)
	piv.HoldExclusively(t, pcscd.Reader(0).Name())()
}

// Even opened by mistake a card without PIV is let go of, which piv-go alone
// does not do.
func TestNoLeak(t *testing.T) {
	pcscd := testenv.StartPCSCD(t, virtualpiv.New(t, virtualpiv.WithoutPIV()))
	pcscd.Use()
	reader := pcscd.Reader(0).Name()
	if err := piv.OpenExclusively(reader); err == nil {
		t.Fatal("a bank card was opened as a token")
	}
	testenv.Eventually(t, "the card is free", func() bool { return piv.IsFree(reader) })
}

func TestEndedContextSpendsNoTry(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	letGo := piv.HoldShared(t, r.pcscd.Reader(0).Name(), true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := key.Sign(ctx, digest("x"), auth(wrongPIN))
	mustBe(t, "Sign of somebody who gives up", err, context.DeadlineExceeded)
	letGo()
	mustSign(t, key, auth(rightPIN))
	if r.card.Count(virtualpiv.Verify) == 0 || r.card.PINsSent() != 2 {
		t.Errorf("the card saw %d PINs, want one at Create and one now", r.card.PINsSent())
	}
}

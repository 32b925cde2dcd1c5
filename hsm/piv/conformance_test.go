//go:build cgo

package piv_test

import (
	"syscall"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/hsm/piv"
	"countersign/internal/testenv"
)

// A token of each kind: one that deletes keys and whose owner brings the
// management key, and an older one that keeps that key under the PIN.
func TestConformance(t *testing.T) {
	t.Run("5.7", func(t *testing.T) {
		f := tokens(virtualpiv.WithFirmware(firstNew), func(*rig) {})
		f.Admin = string(rightAdmin())
		hsmtest.Run(t, f)
	})
	t.Run("5.4, key under the PIN", func(t *testing.T) {
		hsmtest.Run(t, tokens(virtualpiv.WithFirmware(firstOld), (*rig).protect))
	})
}

func tokens(firmware virtualpiv.Option, prepare func(*rig)) hsmtest.Fixture {
	open := func(tb testing.TB) *hsmtest.Chip {
		tb.Helper()
		card := newToken(tb, firmware)
		pcscd := testenv.StartPCSCD(tb, card)
		pcscd.Use()
		prepare(&rig{t: tb, card: card, pcscd: pcscd})
		return chip(card, pcscd)
	}
	return hsmtest.Fixture{
		Open: open, Attesting: open,
		Challenge: func(_ testing.TB, _ hsm.Claim, nonce []byte) (hsm.Challenge, []byte) {
			return hsm.Challenge{Nonce: nonce}, nil
		},
		PIN: rightPIN, WrongPIN: wrongPIN, MinPIN: 6, MaxPIN: 8,
		SharedPIN: true, Tries: 3, Counter: hsm.CounterToken, ByPerson: true,
		Foreign:    hsm.ErrTokenAbsent,
		Algorithms: []hsm.Algorithm{hsm.ES256}, Touch: true,
	}
}

func chip(card *virtualpiv.Card, pcscd *testenv.PCSCD) *hsmtest.Chip {
	reader := pcscd.Reader(0)
	return &hsmtest.Chip{
		Provider: &homed{piv.Open(), pcscd.Socket()},
		Restart:  func() { reader.Insert(card) },
		Detach:   reader.Remove,
		Attach:   func() { reader.Insert(card) },
		Stall: func() func() {
			pid := pcscd.Pid()
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
		},
		Held: func() int { return held(card) },
	}
}

// held counts the slots that a program that knows nothing of us would call
// taken. Where a token cannot delete keys, a slot that Delete has emptied holds
// a placeholder that says so; it is not counted.
func held(card *virtualpiv.Card) int {
	n := 0
	for slot := virtualpiv.RetiredFirst; slot <= virtualpiv.RetiredLast; slot++ {
		object := card.Object(0x5fc10d + uint32(slot-virtualpiv.RetiredFirst))
		if (card.PublicKey(slot) != nil || object != nil) && !saysDeleted(object) {
			n++
		}
	}
	return n
}

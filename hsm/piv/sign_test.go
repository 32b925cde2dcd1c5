//go:build cgo

package piv_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// The card sees the PIN once for each signature, and each time from the caller.
func TestPINIsSentOncePerSignature(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		key := r.approval()
		r.card.ClearLog()
		for n := 1; n <= 3; n++ {
			mustSign(t, key, auth(rightPIN))
			if got := r.card.PINsSent(); got != n {
				t.Errorf("after %d signatures the card saw %d PINs", n, got)
			}
		}
		_, err := key.Sign(t.Context(), digest("x"), hsm.Auth{})
		mustBe(t, "Sign without a PIN", err, hsm.ErrPINRequired)
		if got := r.card.PINsSent(); got != 3 {
			t.Errorf("a Sign without a PIN sent one: %d", got)
		}
	})
}

// The card has forgotten the PIN when it is let go: neither our key nor the
// "once" key of another program can be used by who comes next.
func TestPINDoesNotOutliveSign(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		key := r.approval()
		var theirs crypto.PublicKey
		r.withToken(func(yk *yubico.YubiKey) (err error) {
			theirs, err = yk.GenerateKey(rightAdmin(), yubico.SlotAuthentication, yubico.Key{
				Algorithm: yubico.AlgorithmEC256, PINPolicy: yubico.PINPolicyOnce, TouchPolicy: yubico.TouchPolicyNever,
			})
			return err
		})
		mustSign(t, key, auth(rightPIN))
		r.withToken(func(yk *yubico.YubiKey) error {
			for slot, public := range map[yubico.Slot]crypto.PublicKey{retired(0x82): key.Public(), yubico.SlotAuthentication: theirs} {
				private, err := yk.PrivateKey(slot, public, yubico.KeyAuth{PINPolicy: yubico.PINPolicyNever})
				if err != nil {
					return err
				}
				if _, err := private.(crypto.Signer).Sign(rand.Reader, digest("x"), crypto.SHA256); err == nil {
					t.Errorf("slot %v signed for another program without a PIN", slot)
				}
			}
			return nil
		})
	})
}

func TestWrongPINsLock(t *testing.T) {
	r := newRig(t)
	key, device := r.approval(), r.device()
	for left := 2; left >= 0; left-- {
		_, err := key.Sign(t.Context(), digest("x"), auth(wrongPIN))
		var refused *hsm.PINError
		if !errors.As(err, &refused) || refused.TriesLeft != left || r.card.PINTriesLeft() != left {
			t.Fatalf("a wrong PIN: %v, and the card has %d tries left, want %d", err, r.card.PINTriesLeft(), left)
		}
	}
	for _, p := range []string{wrongPIN, rightPIN} {
		_, err := key.Sign(t.Context(), digest("x"), auth(p))
		mustBe(t, "a blocked PIN", err, hsm.ErrPINLocked)
		if err == nil || !strings.Contains(err.Error(), "ykman piv access unblock-pin") {
			t.Errorf("%v does not say how to unblock", err)
		}
	}
	mustSign(t, device, hsm.Auth{})
}

// What cannot be a PIN never reaches the card.
func TestBadPINs(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	r.card.ClearLog()
	for _, p := range []string{"1", "12345", "123456789", "12345\xff", "1234567\xff"} {
		_, err := key.Sign(t.Context(), digest("x"), auth(p))
		mustBe(t, fmt.Sprintf("PIN %q", p), err, hsm.ErrBadPIN)
		_, err = r.Create(t.Context(), hsm.Template{Auth: auth(p), PINBound: true})
		mustBe(t, fmt.Sprintf("Create with PIN %q", p), err, hsm.ErrBadPIN)
	}
	if n := len(r.card.Log()); n != 0 {
		t.Errorf("the card saw %d commands", n)
	}
}

// A different card never signs, nor does it see the PIN.
func TestOtherCard(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		key := r.approval()
		other := newToken(t, firmware)
		r.pcscd.Reader(0).Insert(other)
		r.approval() // in the same slot of the other card
		other.ClearLog()
		_, err := key.Sign(t.Context(), digest("x"), auth(rightPIN))
		mustBe(t, "Sign with the other card", err, hsm.ErrTokenAbsent)
		for _, serial := range []uint32{r.card.Serial(), other.Serial()} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprint(serial)) {
				t.Errorf("%v does not name token %d", err, serial)
			}
		}
		if other.Count(virtualpiv.Verify)+other.Count(virtualpiv.GeneralAuthenticate) != 0 {
			t.Error("the other card saw a PIN or a digest")
		}
		r.pcscd.Reader(0).Insert(r.card)
		mustSign(t, key, auth(rightPIN))
	})
}

// A card that bears the right serial number and another key is refused before
// it sees the PIN.
func TestOtherKeyInTheSlot(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		key := r.approval()
		r.withToken(func(yk *yubico.YubiKey) error {
			_, err := yk.GenerateKey(rightAdmin(), retired(0x82), yubico.Key{
				Algorithm: yubico.AlgorithmEC256, PINPolicy: yubico.PINPolicyAlways, TouchPolicy: yubico.TouchPolicyNever,
			})
			return err
		})
		r.card.ClearLog()
		_, err := key.Sign(t.Context(), digest("x"), auth(rightPIN))
		mustBe(t, "Sign with another key in the slot", err, hsm.ErrForeignKey)
		_, err = r.Open(t.Context(), key.Reference())
		mustBe(t, "Open with another key in the slot", err, hsm.ErrForeignKey)
		if r.card.Count(virtualpiv.Verify)+r.card.Count(virtualpiv.GeneralAuthenticate) != 0 {
			t.Error("the card saw a PIN or a digest")
		}
		if err := key.Delete(t.Context(), admin()); err != nil {
			t.Errorf("Delete of a key that is gone: %v", err)
		}
		if r.card.PublicKey(0x82) == nil {
			t.Error("Delete removed another program's key")
		}
	})
}

// With two tokens inserted, each key finds its own.
func TestTwoTokens(t *testing.T) {
	one, two := newToken(t), newToken(t)
	testenv.StartPCSCD(t, one, two).Use()
	r := &rig{t: t, Provider: newProvider()}
	keys := map[*virtualpiv.Card]hsm.Key{}
	for _, card := range []*virtualpiv.Card{one, two} {
		keys[card] = r.create(hsm.Template{Auth: admin(), PINBound: true, Token: fmt.Sprint(card.Serial())})
	}
	one.ClearLog()
	two.ClearLog()
	mustSign(t, keys[two], auth(rightPIN))
	if one.PINsSent() != 0 || two.PINsSent() != 1 {
		t.Errorf("the tokens saw %d and %d PINs", one.PINsSent(), two.PINsSent())
	}
}

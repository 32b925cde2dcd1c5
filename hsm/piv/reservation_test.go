//go:build cgo

package piv_test

import (
	"errors"
	"fmt"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

func TestReserveComesFirst(t *testing.T) {
	r := newRig(t)
	full := errors.New("disk full")
	_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), Reserve: func(b []byte) error {
		if len(b) == 0 || r.card.Count(virtualpiv.PutData)+r.card.Count(virtualpiv.GenerateKey) != 0 {
			t.Error("the card was changed before the reservation")
		}
		return full
	}})
	mustBe(t, "Create without a journal", err, full)
	if r.card.Count(virtualpiv.PutData)+r.card.Count(virtualpiv.GenerateKey) != 0 {
		t.Error("the card was changed without a reservation")
	}
}

// Wherever Create breaks off, what it left is found by the reservation, removed
// by whoever has the authority, and by nobody else.
func TestReleaseAfterACrash(t *testing.T) {
	for _, version := range []string{firstOld, firstNew} {
		for name, pull := range map[string]func(*virtualpiv.Card){
			"marked":      func(c *virtualpiv.Card) { c.PullBefore(virtualpiv.GenerateKey) },
			"generated":   func(c *virtualpiv.Card) { c.PullAfter(virtualpiv.GenerateKey) },
			"not touched": func(c *virtualpiv.Card) { c.PullBefore(virtualpiv.PutData) },
		} {
			t.Run(fmt.Sprint(version, " ", name), func(t *testing.T) {
				r := newRig(t, virtualpiv.WithFirmware(version))
				pull(r.card)
				var reservation []byte
				_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), Reserve: func(b []byte) error {
					reservation = b
					return nil
				}})
				mustBe(t, "pulled in the middle", err, hsm.ErrTokenAbsent)
				mustBe(t, "Release without the card", r.Release(t.Context(), reservation), hsm.ErrTokenAbsent)
				r.pcscd.Reader(0).Insert(r.card)
				if name != "not touched" {
					mustBe(t, "Release without a person", r.Release(t.Context(), reservation), hsm.ErrAdminRequired)
				}
				for range 2 {
					if err := r.Reclaim(t.Context(), reservation, admin()); err != nil {
						t.Fatalf("Reclaim: %v", err)
					}
				}
				if err := r.Release(t.Context(), reservation); err != nil {
					t.Errorf("Release where nothing is left: %v", err)
				}
				if got := place(t, r.device()); got != fmt.Sprintf("slot 82 of token %d", r.card.Serial()) {
					t.Errorf("after the release the next key is in %s", got)
				}
			})
		}
	}
}

// A reservation whose Create never came to the card says nothing about what
// others put into the slot.
func TestReleaseSparesOthers(t *testing.T) {
	r := newRig(t, virtualpiv.WithFirmware(firstNew))
	var reservation []byte
	_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), Reserve: func(b []byte) error {
		reservation = b
		return errors.New("crash")
	}})
	if err == nil {
		t.Fatal("Create went on without a journal")
	}
	key := r.device()
	if err := r.Reclaim(t.Context(), reservation, admin()); err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, hsm.Auth{})
	for _, b := range [][]byte{nil, []byte("garbage"), key.Reference(), reservation[1:]} {
		mustBe(t, fmt.Sprintf("Release of %.20q", b), r.Release(t.Context(), b), hsm.ErrBadReference)
	}
}

// A token that keeps its management key under the PIN says that the PIN is
// enough.
func TestReleaseAsksForThePIN(t *testing.T) {
	r := newRig(t)
	r.create(hsm.Template{Auth: admin(), KeepAdmin: true})
	r.card.PullAfter(virtualpiv.GenerateKey)
	var reservation []byte
	_, err := r.Create(t.Context(), hsm.Template{Auth: auth(rightPIN), Reserve: func(b []byte) error {
		reservation = b
		return nil
	}})
	mustBe(t, "pulled in the middle", err, hsm.ErrTokenAbsent)
	r.pcscd.Reader(0).Insert(r.card)
	mustBe(t, "Release without a person", r.Release(t.Context(), reservation), hsm.ErrPINRequired)
	if err := r.Reclaim(t.Context(), reservation, auth(rightPIN)); err != nil {
		t.Fatal(err)
	}
}

// What fails in Create while the card is there is taken back at once.
func TestCreateTakesBack(t *testing.T) {
	for _, version := range []string{firstOld, firstNew} {
		r := newRig(t, virtualpiv.WithFirmware(version))
		r.withToken(func(yk *yubico.YubiKey) error { return nil })
		ctx, cancel := contextThat(t)
		_, err := r.Create(ctx, hsm.Template{Auth: admin(), PINBound: true, Reserve: func([]byte) error {
			cancel()
			return nil
		}})
		if err == nil {
			t.Fatal("Create went on without its caller")
		}
		// The work goes on in the background: the next call waits for its end.
		if got := place(t, r.device()); got != fmt.Sprintf("slot 82 of token %d", r.card.Serial()) {
			t.Errorf("firmware %s: after a given up Create the next key is in %s", version, got)
		}
	}
}

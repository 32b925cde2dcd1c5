//go:build cgo

package piv_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/hsm/piv"
	"countersign/internal/testenv"
)

func codes(notes []hsm.Note) []string {
	var list []string
	for _, n := range notes {
		list = append(list, n.Code)
	}
	return list
}

func TestStatus(t *testing.T) {
	for version, notes := range map[string][]string{
		"4.3.5": {"piv_old_firmware", "piv_puk_unknown"},
		"5.4.3": {"piv_old_firmware"},
		"5.7.1": nil,
	} {
		r := newRig(t, virtualpiv.WithFirmware(version))
		status, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.Vendor != "Yubico" || status.Firmware != version {
			t.Errorf("firmware %s: %+v", version, status)
		}
		for _, want := range []string{fmt.Sprint(r.card.Serial()), r.pcscd.Reader(0).Name()} {
			if !strings.Contains(status.Where, want) {
				t.Errorf("%q does not name %s", status.Where, want)
			}
		}
		if got := codes(status.Notes); !slices.Equal(got, notes) {
			t.Errorf("firmware %s: notes %v, want %v", version, got, notes)
		}
	}
}

// A token as it is sold is described with all that must be changed first.
func TestStatusOfFactoryToken(t *testing.T) {
	r := rigWith(t, virtualpiv.New(t, virtualpiv.WithFirmware(firstNew)))
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var cures []string
	for _, n := range status.Notes {
		if n.Code != "piv_factory_settings" {
			t.Errorf("an unexpected note: %+v", n)
		}
		cures = append(cures, n.Cure)
	}
	all := strings.Join(cures, "\n")
	for _, command := range []string{"change-pin", "change-puk", "change-management-key"} {
		if !strings.Contains(all, command) {
			t.Errorf("the cures do not name %s:\n%s", command, all)
		}
	}
}

func TestStatusOfTwoTokens(t *testing.T) {
	one, two := newToken(t, virtualpiv.WithFirmware(firstNew)), newToken(t)
	testenv.StartPCSCD(t, one, two).Use()
	p := piv.Open()
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(status.Notes); !slices.Contains(got, "piv_more_tokens") {
		t.Errorf("two tokens: notes %v", got)
	}
	_, err = p.Identify(t.Context())
	mustBe(t, "Identify with two tokens", err, hsm.ErrManyTokens)
}

func TestIdentityTellsNoSerialNumber(t *testing.T) {
	r := newRig(t)
	identity, err := r.Identify(t.Context())
	if err != nil || identity == "" || strings.Contains(identity, fmt.Sprint(r.card.Serial())) {
		t.Errorf("Identify: %q, %v", identity, err)
	}
}

func TestInspect(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		approval, device := r.approval(), r.device()
		look := func(key hsm.Key) hsm.Health {
			health, err := key.(hsm.Inspector).Inspect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return health
		}
		if got := look(device); got.TriesLeft != -1 {
			t.Errorf("a key without PIN: %+v", got)
		}
		for left := 3; left >= 0; left-- {
			if got := look(approval); got.TriesLeft != left || !got.LockedUntil.IsZero() {
				t.Errorf("with %d tries left: %+v", left, got)
			}
			_, _ = approval.Sign(t.Context(), digest("x"), auth(wrongPIN))
		}
	})
}

func TestChangePIN(t *testing.T) {
	r := newRig(t)
	key := r.approval()
	if _, ok := r.device().(hsm.PINChanger); ok {
		t.Error("a key without PIN changes it")
	}
	changer := key.(hsm.PINChanger)
	r.card.ClearLog()
	for _, p := range []string{"", "12345", "123456789", "123456"} {
		mustBe(t, fmt.Sprintf("a new PIN %q", p), changer.ChangePIN(t.Context(), pin(rightPIN), pin(p)), hsm.ErrBadPIN)
	}
	mustBe(t, "the factory PIN", changer.ChangePIN(t.Context(), pin(rightPIN), pin("123456")), hsm.ErrFactorySettings)
	if len(r.card.Log()) != 0 {
		t.Error("the card saw a PIN that was refused")
	}
	mustBe(t, "a wrong old PIN", changer.ChangePIN(t.Context(), pin(wrongPIN), pin("718293")), hsm.ErrWrongPIN)
	if err := changer.ChangePIN(t.Context(), pin(rightPIN), pin("718293")); err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, auth("718293"))
	for range 3 {
		_ = changer.ChangePIN(t.Context(), pin(rightPIN), pin("829304"))
	}
	mustBe(t, "a blocked PIN", changer.ChangePIN(t.Context(), pin("718293"), pin("829304")), hsm.ErrPINLocked)
}

package tpm_test

import (
	"errors"
	"slices"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

const ownerPassword = "the password of a fleet"

func setOwnerPassword(t *testing.T, raw *testenv.RawTPM) {
	t.Helper()
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte(ownerPassword)},
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
}

func giving(password string) tpm.Option {
	return tpm.WithOwnerPassword(func() (secret.Value, error) { return pin(password), nil })
}

// owned is a TPM whose owner set a password after two keys were made on it.
type owned struct {
	chip             *testenv.SWTPM
	device, approval []byte
}

func newOwned(t *testing.T) *owned {
	t.Helper()
	o := &owned{chip: testenv.StartSWTPM(t)}
	p := provider(t, o.chip.Spec())
	o.device, o.approval = mustCreate(t, p, bound("")).Reference(), mustCreate(t, p, bound(rightPIN)).Reference()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	raw := o.chip.Dial()
	setOwnerPassword(t, raw)
	raw.Close()
	return o
}

func mustOpen(t *testing.T, p hsm.Provider, reference []byte) hsm.Key {
	t.Helper()
	key, err := p.Open(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func noteCodes(t *testing.T, p hsm.Provider) []string {
	t.Helper()
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range status.Notes {
		if n.Text == "" || n.Cure == "" {
			t.Errorf("note %s without words: %+v", n.Code, n)
		}
		all = append(all, n.Code)
	}
	return all
}

// A fleet sets an owner password on a machine that is enrolled, and tells the
// service nothing, or the wrong one: keys go on signing, which is said.
func TestOwnerPasswordSetLater(t *testing.T) {
	for name, options := range map[string][]tpm.Option{
		"none given":  nil,
		"wrong given": {giving("another password")},
		"not to be had": {tpm.WithOwnerPassword(func() (secret.Value, error) {
			return secret.Value{}, errors.New("no such credential")
		})},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwned(t)
			p := provider(t, o.chip.Spec(), options...)
			approval := mustOpen(t, p, o.approval)
			mustSign(t, mustOpen(t, p, o.device), "")
			mustSign(t, approval, rightPIN)
			mustMiss(t, approval, -1)
			if health, err := approval.(hsm.Inspector).Inspect(t.Context()); err != nil || health.TriesLeft != -1 {
				t.Errorf("Inspect: %+v, %v", health, err)
			}
			if got := noteCodes(t, p); !slices.Equal(got, []string{"tpm_owner_password"}) {
				t.Errorf("notes %q", got)
			}
			fallback := mustCreate(t, p, bound(rightPIN))
			if got := fallback.Protection().Counter; got != hsm.CounterLockout {
				t.Errorf("a new key is counted by %q", got)
			}
			mustSign(t, fallback, rightPIN)
			if err := approval.Delete(t.Context(), hsm.Auth{}); !errors.Is(err, hsm.ErrAdminRequired) {
				t.Errorf("Delete: %v", err)
			}
			mustSign(t, approval, rightPIN)
		})
	}
}

// With the password all is as without one, and nothing of it crosses the wire.
func TestOwnerPasswordGiven(t *testing.T) {
	o := newOwned(t)
	rec := testenv.RecordTPM(t, o.chip)
	p := provider(t, rec.Spec(), giving(ownerPassword))
	mustMiss(t, mustOpen(t, p, o.approval), 4)
	key := mustCreate(t, p, bound(rightPIN))
	if got := key.Protection().Counter; got != hsm.CounterIndex {
		t.Errorf("a new key is counted by %q", got)
	}
	mustSign(t, key, rightPIN)
	mustMiss(t, key, 4)
	if got := noteCodes(t, p); len(got) != 0 {
		t.Errorf("notes %q", got)
	}
	if err := key.Delete(t.Context(), hsm.Auth{}); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if rec.Contains([]byte(ownerPassword)) {
		t.Error("the owner password crossed the wire")
	}
	allSalted(t, rec)
}

// The owner's proof finds room beside what other programs hold.
func TestOwnerPasswordInThreeSlots(t *testing.T) {
	o := newOwned(t)
	raw := o.chip.Dial()
	storageRootUnder(t, raw, tpm2.TPMRHNull)
	if _, _, err := tpm2.HMACSession(raw, tpm2.TPMAlgSHA256, 16); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	p := provider(t, "device:"+testenv.TPMDevice(t, o.chip.Spec()), giving(ownerPassword))
	approval := mustOpen(t, p, o.approval)
	mustSign(t, approval, rightPIN)
	mustMiss(t, approval, 4)
	mustSign(t, approval, rightPIN)
	if got := noteCodes(t, p); len(got) != 0 {
		t.Errorf("notes %q", got)
	}
	key := mustCreate(t, p, bound(rightPIN))
	mustSign(t, key, rightPIN)
	if err := key.Delete(t.Context(), hsm.Auth{}); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// The password is set before the first key, and there is no storage root: with
// the password one is derived and settled, without it there is no way.
func TestOwnerPasswordSetBefore(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	setOwnerPassword(t, raw)
	raw.Close()
	stranger := provider(t, chip.Spec())
	if _, err := stranger.Create(t.Context(), bound("")); !errors.Is(err, hsm.ErrAdminRequired) {
		t.Errorf("Create: %v", err)
	}
	if _, err := stranger.Status(t.Context()); !errors.Is(err, hsm.ErrAdminRequired) {
		t.Errorf("Status: %v", err)
	}
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec(), giving(ownerPassword))
	mustSign(t, mustCreate(t, p, bound(rightPIN)), rightPIN)
	if rec.Contains([]byte(ownerPassword)) {
		t.Error("the owner password crossed the wire")
	}
	allSalted(t, rec)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	raw = chip.Dial()
	if nameAt(t, raw) == nil {
		t.Error("no storage root was settled")
	}
	if left := raw.Loaded(); len(left) != 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

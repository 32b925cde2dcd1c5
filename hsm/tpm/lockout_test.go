package tpm_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// withoutPINIndex is a TPM that does not know indices of type PIN_FAIL, as
// before revision 1.38.
func withoutPINIndex(t *testing.T) (*testenv.SWTPM, *testenv.TPMRecorder) {
	t.Helper()
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	rec.Answer(tpm2.TPMCCNVDefineSpace, tpm2.TPMRCAttributes)
	return chip, rec
}

// Such a TPM keeps the PIN by its chip-wide counter, says so, and locks for a
// time that is told.
func TestWithoutPINIndexTheLockoutCounts(t *testing.T) {
	chip, rec := withoutPINIndex(t)
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	reopened := mustOpen(t, p, key.Reference())
	for _, k := range []hsm.Key{key, reopened} {
		if got := k.Protection().Counter; got != hsm.CounterLockout {
			t.Errorf("the PIN is counted by %q", got)
		}
	}
	if got := noteCodes(t, p); !slices.Equal(got, []string{"tpm_no_pin_index"}) {
		t.Errorf("notes %q", got)
	}
	mustSign(t, key, rightPIN)
	if _, err := key.Sign(t.Context(), digest(), hsm.Auth{}); !errors.Is(err, hsm.ErrPINRequired) {
		t.Errorf("without PIN: %v", err)
	}
	for left := 2; left >= 0; left-- { // swtpm's lockout is at three
		mustMiss(t, key, left)
		health, err := reopened.(hsm.Inspector).Inspect(t.Context())
		if err != nil || health.TriesLeft != left || health.LockedUntil.IsZero() == (left == 0) {
			t.Errorf("Inspect with %d tries left: %+v, %v", left, health, err)
		}
	}
	var locked *hsm.LockedError
	_, err := reopened.Sign(t.Context(), digest(), auth(rightPIN))
	if !errors.As(err, &locked) {
		t.Fatalf("the right PIN in lockout: %v", err)
	}
	if wait := time.Until(locked.Until); wait < 900*time.Second || wait > 1100*time.Second { // its interval is 1000 s
		t.Errorf("locked until %v, which is in %v", locked.Until, wait)
	}
	mustSign(t, mustCreate(t, p, bound("")), "") // a key without PIN does not care
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n := chip.Dial().LockoutCounter(); n != 3 {
		t.Errorf("the shared counter is %d, want 3", n)
	}
}

// The lockout ends by itself, when it was said.
func TestLockoutEndsWhenItWasSaid(t *testing.T) {
	chip, rec := withoutPINIndex(t)
	raw := chip.Dial()
	setLockout(t, raw, 2, 1)
	raw.Close()
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	mustMiss(t, key, 1)
	mustMiss(t, key, 0)
	var locked *hsm.LockedError
	_, err := key.Sign(t.Context(), digest(), auth(rightPIN))
	if !errors.As(err, &locked) {
		t.Fatalf("in lockout: %v", err)
	}
	testenv.Eventually(t, "the lockout ends", func() bool {
		_, err = key.Sign(t.Context(), digest(), auth(rightPIN))
		return err == nil
	})
	if late := time.Since(locked.Until); late > 2*time.Second {
		t.Errorf("the lockout ended %v after it was said to", late)
	}
}

// setLockout is TPM2_DictionaryAttackParameters, which go-tpm does not have.
func setLockout(t *testing.T, raw *testenv.RawTPM, tries, interval uint32) {
	t.Helper()
	command, err := binary.Append(nil, binary.BigEndian, struct {
		Tag             uint16
		Size, Code      uint32
		Lockout         tpm2.TPMHandle
		AuthSize        uint32
		Session         tpm2.TPMHandle
		Nonce           uint16
		Attributes      uint8
		Auth            uint16
		Tries, Interval uint32
		Recovery        uint32
	}{0x8002, 39, 0x13a, tpm2.TPMRHLockout, 9, tpm2.TPMRSPW, 0, 0, 0, tries, interval, interval})
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := raw.Send(command)
	if err != nil || rsp[9] != 0 {
		t.Fatalf("set the lockout: % x, %v", rsp, err)
	}
}

// Neither the PIN nor what is made from it crosses the wire here either.
func TestLockoutKeyWireCarriesNoPIN(t *testing.T) {
	_, rec := withoutPINIndex(t)
	p := provider(t, rec.Spec())
	for _, algorithm := range []hsm.Algorithm{hsm.ES256, hsm.RS256} {
		template := bound(rightPIN)
		template.Algorithm = algorithm
		key := mustCreate(t, p, template)
		mustSign(t, key, rightPIN)
		if err := key.Delete(t.Context(), hsm.Auth{}); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	if rec.Contains([]byte(rightPIN)) || rec.Contains(guess(rightPIN)) {
		t.Error("the PIN or its auth value crossed the wire")
	}
	allSalted(t, rec)
}

// The key of the fallback is not opened by administration either, and whoever
// guesses in a bound session is counted.
func TestLockoutKeyTellsNothingUncounted(t *testing.T) {
	chip, rec := withoutPINIndex(t)
	p := provider(t, rec.Spec())
	reference := mustCreate(t, p, bound(rightPIN)).Reference()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	v := &victim{tpm: chip, reference: reference, file: parseKeyFile(t, reference)}
	raw := chip.Dial()
	key, parent := v.load(t, raw)
	for _, pinText := range []string{rightPIN, wrongPIN} {
		by := tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: tpm2.PasswordAuth(guess(pinText))}
		_, err := tpm2.Certify{
			ObjectHandle: by, SignHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHNull, Auth: tpm2.PasswordAuth(nil)},
			InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		}.Execute(raw)
		if !errors.Is(err, tpm2.TPMRCAuthType) {
			t.Errorf("Certify with %s: %v", pinText, err)
		}
		if _, err = (tpm2.ObjectChangeAuth{ObjectHandle: by, ParentHandle: parent}).Execute(raw); !errors.Is(err, tpm2.TPMRCAuthType) {
			t.Errorf("ObjectChangeAuth with %s: %v", pinText, err)
		}
	}
	if n := raw.LockoutCounter(); n != 0 {
		t.Errorf("refused administration counted %d", n)
	}
	if err := tryBound(raw, key, guess(wrongPIN)); err == nil || raw.LockoutCounter() == 0 {
		t.Errorf("a guess in a bound session: %v, counter %d", err, raw.LockoutCounter())
	}
}

// A chip that lets sessions be bound to its PIN index lets PINs be guessed past
// it: its lockout counts instead, and the index does not stay.
func TestChipThatBindsToItsIndex(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	rec.Tamper(func(x testenv.Exchange) []byte {
		if x.Code == tpm2.TPMCCStartAuthSession && errors.Is(x.RC, tpm2.TPMRCHandle) {
			return sessionResponse()
		}
		return x.Response
	})
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	if got := key.Protection().Counter; got != hsm.CounterLockout {
		t.Errorf("the PIN is counted by %q", got)
	}
	mustSign(t, key, rightPIN)
	if err := tpm.HangUp(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if left := chip.Dial().Indices(); len(left) != 0 {
		t.Errorf("indices %x", left)
	}
}

// sessionResponse is what a chip answers that started a session.
func sessionResponse() []byte {
	rsp := []byte{0x80, 0x01, 0, 0, 0, 32, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 16}
	return append(rsp, make([]byte, 16)...)
}

package tpm_test

import (
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// The chip is reset in the middle of a call and forgets what was loaded: the
// call ends well, by itself, and no try is spent.
func TestResetInTheMiddle(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	for pinText, commands := range map[string][]tpm2.TPMCC{
		"":       {tpm2.TPMCCSign},
		rightPIN: {tpm2.TPMCCNVReadPublic, tpm2.TPMCCPolicySecret, tpm2.TPMCCSign},
	} {
		key := mustCreate(t, p, bound(pinText))
		for _, code := range commands {
			mustSign(t, key, pinText) // what was loaded is loaded again
			rec.Inject(code, testenv.Reset)
			mustSign(t, key, pinText)
		}
		if pinText != "" {
			mustMiss(t, key, 4)
		}
	}
}

// The saved context of before a reset is worthless, and nobody notices.
func TestContextOfBeforeAReset(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	for _, pinText := range []string{"", rightPIN} {
		key := mustCreate(t, p, bound(pinText))
		mustSign(t, key, pinText)
		if err := tpm.HangUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		chip.Restart()
		mustSign(t, key, pinText)
	}
}

// A reset while a key is made leaves one index for one key.
func TestResetWhileCreating(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	for i, code := range []tpm2.TPMCC{tpm2.TPMCCNVDefineSpace, tpm2.TPMCCPolicySigned, tpm2.TPMCCNVWrite, tpm2.TPMCCCreate} {
		rec.Inject(code, testenv.Reset)
		mustSign(t, mustCreate(t, p, bound(rightPIN)), rightPIN)
		if err := tpm.HangUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		raw := chip.Dial()
		if got := len(raw.Indices()); got != i+1 {
			t.Errorf("reset before command %v: %d indices for %d keys", code, got, i+1)
		}
		raw.Close()
	}
}

// A chip that forgets again and again is named as such.
func TestResetAgainAndAgain(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, bound(""))
	rec.Answer(tpm2.TPMCCSign, tpm2.TPMRCReferenceH0)
	if _, err := key.Sign(t.Context(), digest(), hsm.Auth{}); !errors.Is(err, hsm.ErrReset) || !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("sign: %v", err)
	}
	if n := rec.Count(tpm2.TPMCCSign); n != 2 {
		t.Errorf("the command was sent %d times, want twice", n)
	}
	rec.Answer(tpm2.TPMCCSign, 0)
	mustSign(t, key, "")
}

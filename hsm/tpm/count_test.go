package tpm_test

import (
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// However often the power is cut after a right PIN, nothing locks: neither the
// key nor, for whoever shares the chip, the chip.
func TestTenPowerCutsLockNobodyOut(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	for range 10 {
		mustSign(t, key, rightPIN)
		chip.Restart()
	}
	mustMiss(t, key, 4)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n := chip.Dial().LockoutCounter(); n != 0 {
		t.Errorf("the shared lockout counter is %d", n)
	}
}

// Wrong PINs stay counted whatever ends the chip's day, and after the fifth the
// right PIN is refused too.
func TestCountSurvives(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testenv.SWTPM, *testenv.TPMRecorder, *tpm.Provider){
		"kill -9": func(t *testing.T, chip *testenv.SWTPM, _ *testenv.TPMRecorder, p *tpm.Provider) {
			if err := tpm.HangUp(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			chip.Restart()
		},
		"TPM reset": func(_ *testing.T, _ *testenv.SWTPM, rec *testenv.TPMRecorder, _ *tpm.Provider) {
			rec.Inject(testenv.AnyCommand, testenv.Reset)
		},
		"orderly restart": func(t *testing.T, chip *testenv.SWTPM, _ *testenv.TPMRecorder, p *tpm.Provider) {
			if err := tpm.HangUp(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			raw := chip.Dial()
			if _, err := (tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}).Execute(raw); err != nil {
				t.Fatal(err)
			}
			chip.Restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			chip := testenv.StartSWTPM(t)
			rec := testenv.RecordTPM(t, chip)
			p := provider(t, rec.Spec())
			key := mustCreate(t, p, bound(rightPIN))
			for left := 4; left >= 0; left-- {
				mustMiss(t, key, left)
				end(t, chip, rec, p)
			}
			if _, err := key.Sign(t.Context(), digest(), auth(rightPIN)); !errors.Is(err, hsm.ErrPINLocked) {
				t.Errorf("the sixth try, with the right PIN: %v", err)
			}
		})
	}
}

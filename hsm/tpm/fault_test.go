package tpm_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

func TestAbsentTPMComesLater(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	chip.Kill()
	for _, spec := range []string{chip.Spec(), "device:/nonexistent/tpmrm0"} {
		p := provider(t, spec)
		if _, err := p.Status(t.Context()); !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("Status without a TPM at %s: %v", spec, err)
		}
	}
	p := provider(t, chip.Spec())
	if _, err := p.Create(t.Context(), bound("")); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("Create without a TPM: %v", err)
	}
	chip.Start()
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.Vendor != "IBM" || status.Model == "" || status.Firmware == "" || status.Where != chip.Spec() {
		t.Errorf("Status: %+v", status)
	}
}

func mustMiss(t *testing.T, key hsm.Key, left int) {
	t.Helper()
	var pe *hsm.PINError
	_, err := key.Sign(t.Context(), digest(), auth(wrongPIN))
	if !errors.As(err, &pe) || pe.TriesLeft != left {
		t.Fatalf("a wrong PIN: %v, want %d tries left", err, left)
	}
}

// Whatever command is lost, before or after the TPM acted: the call fails, no
// try is spent by a PIN that was right, and the next call works.
func TestLostConnectionWhileSigning(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []testenv.Fault{testenv.CutBefore, testenv.CutAfter} {
		cold, err := p.Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []tpm2.TPMCC{
			tpm2.TPMCCContextLoad, tpm2.TPMCCNVReadPublic, tpm2.TPMCCStartAuthSession, tpm2.TPMCCPolicySecret, tpm2.TPMCCSign,
		} {
			if err := tpm.HangUp(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			rec.Inject(code, fault)
			if _, err := cold.Sign(t.Context(), digest(), auth(rightPIN)); !errors.Is(err, hsm.ErrUnavailable) {
				t.Errorf("command %v, fault %v: %v", code, fault, err)
			}
			mustSign(t, cold, rightPIN)
		}
		for _, code := range []tpm2.TPMCC{tpm2.TPMCCLoad, tpm2.TPMCCContextSave} {
			rec.Inject(code, fault)
			if _, err := p.Open(t.Context(), key.Reference()); code == tpm2.TPMCCLoad && !errors.Is(err, hsm.ErrUnavailable) {
				t.Errorf("command %v, fault %v: %v", code, fault, err)
			}
			mustSign(t, key, rightPIN)
		}
	}
	mustMiss(t, key, 4)
}

// Whatever command is lost while a key is made: no PIN index stays behind that
// nobody knows of.
func TestLostConnectionWhileCreating(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	for _, code := range []tpm2.TPMCC{
		tpm2.TPMCCStartAuthSession, tpm2.TPMCCNVDefineSpace, tpm2.TPMCCLoadExternal, tpm2.TPMCCPolicySigned,
		tpm2.TPMCCNVWrite, tpm2.TPMCCNVReadPublic, tpm2.TPMCCCreate,
	} {
		for _, fault := range []testenv.Fault{testenv.CutBefore, testenv.CutAfter} {
			rec.Inject(code, fault)
			if _, err := p.Create(t.Context(), bound(rightPIN)); !errors.Is(err, hsm.ErrUnavailable) {
				t.Errorf("command %v, fault %v: %v", code, fault, err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := chip.Dial().Indices(); len(left) != 0 {
		t.Errorf("PIN indices without a key: %x", left)
	}
}

// The same for the very first key of a chip, which has to derive and to settle a
// storage root besides.
func TestLostConnectionWhileDerivingTheRoot(t *testing.T) {
	for _, pinText := range []string{"", rightPIN} {
		for _, code := range []tpm2.TPMCC{
			tpm2.TPMCCReadPublic, tpm2.TPMCCGetCapability, tpm2.TPMCCCreatePrimary, tpm2.TPMCCContextSave, tpm2.TPMCCEvictControl,
		} {
			for _, fault := range []testenv.Fault{testenv.CutBefore, testenv.CutAfter} {
				rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
				p := provider(t, rec.Spec())
				rec.Inject(code, fault)
				if _, err := p.Create(t.Context(), bound(pinText)); !errors.Is(err, hsm.ErrUnavailable) {
					t.Errorf("PIN %q, command %v, fault %v: %v", pinText, code, fault, err)
				}
				mustSign(t, mustCreate(t, p, bound(pinText)), pinText)
			}
		}
	}
}

// A TPM that stops answering costs a caller no more than its deadline, and the
// answer that comes too late is not taken for another's.
func TestHungTPM(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, rightPIN)
	for _, code := range []tpm2.TPMCC{tpm2.TPMCCContextLoad, tpm2.TPMCCPolicySecret, tpm2.TPMCCSign} {
		if err := tpm.HangUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		rec.Inject(code, testenv.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		_, err := key.Sign(ctx, digest(), auth(rightPIN))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("hung in %v: %v", code, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("hung in %v: took %v", code, took)
		}
		mustSign(t, key, rightPIN)
	}
}

// Time runs out in the one command whose failure nobody looks at. The caller
// learns that, and not that the connection it gave up is lost.
func TestHungTPMWhileTidyingUp(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	rec.Inject(tpm2.TPMCCFlushContext, testenv.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.Create(ctx, bound(rightPIN)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hung in a flush: %v", err)
	}
}

func TestHungTPMEndsWithCancel(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key, err := p.Create(t.Context(), bound(""))
	if err != nil {
		t.Fatal(err)
	}
	rec.Inject(tpm2.TPMCCSign, testenv.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	before := rec.Count(tpm2.TPMCCSign)
	go func() {
		_, err := key.Sign(ctx, digest(), auth(""))
		done <- err
	}()
	testenv.Eventually(t, "the command reaches the TPM", func() bool { return rec.Count(tpm2.TPMCCSign) > before })
	// Somebody else in the queue keeps to an own deadline.
	impatient, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := key.Sign(impatient, digest(), hsm.Auth{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind a hung caller: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("canceled in a hung command: %v", err)
	}
	mustSign(t, key, "")
}

func TestRetryIsObeyed(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []tpm2.TPMCC{tpm2.TPMCCLoad, tpm2.TPMCCPolicySecret, tpm2.TPMCCSign} {
		rec.Inject(code, testenv.Retry)
		before := rec.Count(code)
		mustSign(t, key, rightPIN)
		if n := rec.Count(code) - before; n != 2 {
			t.Errorf("command %v was sent %d times, want it resubmitted once", code, n)
		}
	}
}

// A program that died left the TPM's three object and three session slots full.
func TestLeftoversAreSwept(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	for range 3 {
		storageRoot(t, raw)
		if _, _, err := tpm2.HMACSession(raw, tpm2.TPMAlgSHA256, 16); err != nil {
			t.Fatal(err)
		}
	}
	raw.Close()
	p := provider(t, chip.Spec())
	key, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, rightPIN)
}

func TestCloseLeavesNothing(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	key, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, key, rightPIN)
	mustMiss(t, key, 4)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := key.Sign(t.Context(), digest(), auth(rightPIN)); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("sign after Close: %v", err)
	}
	if left := chip.Dial().Loaded(); len(left) != 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

// An idle program lets go of the TPM, which serves one client at a time, and
// takes nothing of its slots.
func TestIdleConnectionIsReleased(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec(), tpm.WithIdle(20*time.Millisecond))
	key, err := p.Create(t.Context(), bound(""))
	if err != nil {
		t.Fatal(err)
	}
	raw := chip.Dial()
	if left := raw.Loaded(); len(left) != 0 { // answers only once p has let go
		t.Errorf("an idle program keeps %x in the TPM", left)
	}
	raw.Close()
	mustSign(t, key, "")
}

func TestClearedTPM(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	if err := v.sign(t, rightPIN); !errors.Is(err, hsm.ErrForeignKey) {
		t.Errorf("sign after TPM2_Clear: %v", err)
	}
}

package tpm_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// answersSoon runs what must not take longer than two seconds, with a caller
// that set no deadline.
func answersSoon(t *testing.T, what string, want error, f func(ctx context.Context) error) {
	t.Helper()
	begin := time.Now()
	err := f(context.Background())
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("%s took %v", what, took)
	}
}

func status(p *tpm.Provider) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := p.Status(ctx)
		return err
	}
}

func sign(key hsm.Key, pinText string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := key.Sign(ctx, digest(), auth(pinText))
		return err
	}
}

func TestAbsentIsNamedSoon(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	chip.Kill()
	answersSoon(t, "Status", hsm.ErrUnavailable, status(p))
	answersSoon(t, "Sign", hsm.ErrUnavailable, sign(key, rightPIN))
	answersSoon(t, "Status of no device", hsm.ErrUnavailable, status(provider(t, "device:/nonexistent/tpmrm0")))
}

// A chip that hangs: who asks only is answered soon whatever the deadline, even
// behind a caller who makes something and waits for long.
func TestHungIsNamedSoon(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, bound(""))
	rec.Inject(testenv.AnyCommand, testenv.Hang)
	answersSoon(t, "Status", hsm.ErrUnavailable, status(p))
	rec.Inject(testenv.AnyCommand, testenv.Hang)
	answersSoon(t, "Open", hsm.ErrUnavailable, func(ctx context.Context) error {
		_, err := p.Open(ctx, key.Reference())
		return err
	})
	rec.Inject(tpm2.TPMCCCreate, testenv.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan error)
	before := rec.Count(tpm2.TPMCCCreate)
	go func() {
		_, err := p.Create(ctx, bound(""))
		made <- err
	}()
	testenv.Eventually(t, "the command reaches the TPM", func() bool { return rec.Count(tpm2.TPMCCCreate) > before })
	answersSoon(t, "Status behind a Create", hsm.ErrUnavailable, status(p))
	answersSoon(t, "Inspect behind a Create", hsm.ErrUnavailable, func(ctx context.Context) error {
		_, err := key.(hsm.Inspector).Inspect(ctx)
		return err
	})
	cancel()
	if err := <-made; !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
}

// Somebody else holds the only connection that swtpm serves.
func TestOccupiedIsNamedSoon(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	raw.Loaded() // is served
	answersSoon(t, "Status", hsm.ErrUnavailable, status(provider(t, chip.Spec())))
}

func TestOutOfMemoryIsNamedSoon(t *testing.T) {
	for what, fill := range map[string]func(t *testing.T, raw *testenv.RawTPM){
		"objects": func(t *testing.T, raw *testenv.RawTPM) { storageRoot(t, raw) },
		"sessions": func(t *testing.T, raw *testenv.RawTPM) {
			if _, _, err := tpm2.HMACSession(raw, tpm2.TPMAlgSHA256, 16); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVictim(t)
			raw := v.tpm.Dial()
			for range 3 {
				fill(t, raw)
			}
			raw.Close()
			p := provider(t, "device:"+testenv.TPMDevice(t, v.tpm.Spec()))
			answersSoon(t, "Open and Sign", hsm.ErrNoMemory, func(ctx context.Context) error {
				key, err := p.Open(ctx, v.reference)
				if err != nil {
					return err
				}
				return sign(key, rightPIN)(ctx)
			})
		})
	}
}

func TestResetIsNamedSoon(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	key := mustCreate(t, provider(t, rec.Spec()), bound(rightPIN))
	rec.Answer(tpm2.TPMCCPolicySecret, tpm2.TPMRCReferenceS0)
	answersSoon(t, "Sign", hsm.ErrReset, sign(key, rightPIN))
}

func TestFullIsNamedSoon(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	rec.Answer(tpm2.TPMCCNVDefineSpace, tpm2.TPMRCNVSpace)
	answersSoon(t, "Create", hsm.ErrNoRoom, func(ctx context.Context) error {
		_, err := p.Create(ctx, bound(rightPIN))
		return err
	})
}

func TestNotInServiceIsNamedSoon(t *testing.T) {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCInitialize, tpm2.TPMRCFailure, 0x1234} {
		rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
		rec.Answer(tpm2.TPMCCGetCapability, rc)
		answersSoon(t, "Status", hsm.ErrUnavailable, status(provider(t, rec.Spec())))
	}
}

// A locked key is refused at once and for good: the way on is another key.
func TestLockedIsNamedSoon(t *testing.T) {
	key := mustCreate(t, provider(t, testenv.StartSWTPM(t).Spec()), bound(rightPIN))
	for left := 4; left >= 0; left-- {
		mustMiss(t, key, left)
	}
	answersSoon(t, "Sign", hsm.ErrPINLocked, func(ctx context.Context) error {
		_, err := key.Sign(ctx, digest(), auth(rightPIN))
		var locked *hsm.LockedError
		if !errors.As(err, &locked) || !locked.Until.IsZero() {
			t.Errorf("locked: %v, want for good", err)
		}
		return err
	})
}

// A state directory that was stolen and brought to another TPM opens nothing,
// also where that one has a storage root of its own.
func TestStolenReferenceIsNamedSoon(t *testing.T) {
	here, there := provider(t, testenv.StartSWTPM(t).Spec()), provider(t, testenv.StartSWTPM(t).Spec())
	for _, pinText := range []string{"", rightPIN} {
		stolen := mustCreate(t, here, bound(pinText)).Reference()
		answersSoon(t, "Open", hsm.ErrForeignKey, func(ctx context.Context) error {
			_, err := there.Open(ctx, stolen)
			return err
		})
		mustCreate(t, there, bound(""))
		answersSoon(t, "Open", hsm.ErrForeignKey, func(ctx context.Context) error {
			_, err := there.Open(ctx, stolen)
			return err
		})
	}
}

func TestSocketWithoutTPM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	p := provider(t, "swtpm:"+path, tpm.WithTimeout(50*time.Millisecond))
	_, err = p.Status(t.Context())
	if !errors.Is(err, hsm.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Status of a silent socket: %v", err)
	}
}

func TestPermissionDeniedNamesTheGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpmrm0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := tpm.DialError(t.Context(), &os.PathError{Op: "open", Path: path, Err: syscall.EACCES})
	if !errors.Is(err, hsm.ErrPermission) || !errors.Is(err, hsm.ErrUnavailable) || !strings.Contains(err.Error(), "members of group") {
		t.Errorf("got %v", err)
	}
}

func TestBusyDeviceIsNamed(t *testing.T) {
	err := tpm.DialError(t.Context(), &os.PathError{Op: "open", Path: "/dev/tpm0", Err: syscall.EBUSY})
	if !errors.Is(err, hsm.ErrBusy) || !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

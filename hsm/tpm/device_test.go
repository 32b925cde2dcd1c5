package tpm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

func TestDevice(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, "device:"+testenv.TPMDevice(t, chip.Spec()))
	for _, pinText := range []string{"", rightPIN} {
		key, err := p.Create(t.Context(), bound(pinText))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			mustSign(t, key, pinText)
		}
		again, err := p.Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, again, pinText)
	}
}

// Behind a device there may be other people's objects. They are never flushed,
// not even when they leave no room, and what is in the way is named.
func TestDeviceFlushesNothingForeign(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	foreign := []tpm2.TPMHandle{storageRoot(t, raw).Handle, storageRoot(t, raw).Handle, storageRoot(t, raw).Handle}
	raw.Close()
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, "device:"+testenv.TPMDevice(t, rec.Spec()))
	_, err := p.Create(t.Context(), bound(""))
	if !errors.Is(err, hsm.ErrUnavailable) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("no free object slot: %v", err)
	}
	for _, x := range rec.Log() {
		if x.Code == tpm2.TPMCCFlushContext && slices.Contains(foreign, x.Handles[0]) {
			t.Errorf("flushed somebody else's object %x", x.Handles[0])
		}
	}
}

func TestHungDevice(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, "device:"+testenv.TPMDevice(t, rec.Spec()), tpm.WithTimeout(50*time.Millisecond))
	rec.Inject(testenv.AnyCommand, testenv.Hang)
	if _, err := p.Status(t.Context()); !errors.Is(err, hsm.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hung device: %v", err)
	}
}

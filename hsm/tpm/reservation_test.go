package tpm_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// abandoned is a chip with the index of a Create that the power went out on,
// between the index and the key, and what the caller had stored by then.
func abandoned(t *testing.T) (*testenv.SWTPM, []byte) {
	t.Helper()
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	var reservation []byte
	template := bound(rightPIN)
	template.Reserve = func(r []byte) error {
		if rec.Count(tpm2.TPMCCNVDefineSpace) != 0 {
			t.Error("reserved after the index was defined")
		}
		reservation = slices.Clone(r)
		return nil
	}
	rec.Inject(tpm2.TPMCCCreate, testenv.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Create(ctx, template)
		done <- err
	}()
	testenv.Eventually(t, "the index is made", func() bool { return rec.Count(tpm2.TPMCCCreate) == 1 })
	chip.Kill()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Create: %v", err)
	}
	chip.Start()
	return chip, reservation
}

// What a crash left is removed by its reservation, and nothing else is; to
// release twice is no error.
func TestReleaseRemovesWhatACrashLeft(t *testing.T) {
	chip, reservation := abandoned(t)
	raw := chip.Dial()
	left := raw.Indices()
	if len(left) != 1 {
		t.Fatalf("indices after the crash: %x, want one", left)
	}
	raw.Close()
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	for range 2 {
		if err := p.Release(t.Context(), reservation); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	mustSign(t, key, rightPIN)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if now := chip.Dial().Indices(); len(now) != 1 || now[0] == left[0] {
		t.Errorf("indices after Release: %x, want one and not %x", now, left)
	}
}

// Whoever took the handle meanwhile keeps it.
func TestReleaseLeavesAnotherIndexAtTheHandle(t *testing.T) {
	chip, reservation := abandoned(t)
	raw := chip.Dial()
	handle := raw.Indices()[0]
	rsp, err := tpm2.NVReadPublic{NVIndex: handle}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	undefine(t, raw, tpm2.NamedHandle{Handle: handle, Name: rsp.NVName})
	theirs := tpm2.TPMSNVPublic{
		NVIndex: handle, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true},
	}
	if err := define(raw, theirs, nil); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	p := provider(t, chip.Spec())
	if err := p.Release(t.Context(), reservation); err != nil {
		t.Errorf("Release: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if now := chip.Dial().Indices(); !slices.Equal(now, []tpm2.TPMHandle{handle}) {
		t.Errorf("indices after Release: %x, want their %x", now, handle)
	}
}

// A caller who cannot store the reservation gets no key, their own error, and
// nothing in the chip.
func TestFailedReservation(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	full := errors.New("disk full")
	template := bound(rightPIN)
	template.Reserve = func([]byte) error { return full }
	if _, err := p.Create(t.Context(), template); !errors.Is(err, full) || errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("Create: %v", err)
	}
	if err := p.Release(t.Context(), []byte("garbage")); !errors.Is(err, hsm.ErrBadReference) {
		t.Errorf("Release of garbage: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := chip.Dial().Indices(); len(left) != 0 {
		t.Errorf("indices %x", left)
	}
}

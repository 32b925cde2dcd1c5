package tpm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// mustBeNamed holds an error to the port: whatever a chip answers, a caller can
// branch on what comes of it.
func mustBeNamed(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, name := range []error{
		hsm.ErrUnavailable, hsm.ErrForeignKey, hsm.ErrBadReference, hsm.ErrWrongPIN, hsm.ErrPINLocked,
		hsm.ErrAdminRequired, hsm.ErrNoRoom, hsm.ErrUnsupported, hsm.ErrNoAttestation,
		context.DeadlineExceeded, // the caller's own
	} {
		if errors.Is(err, name) {
			return
		}
	}
	t.Errorf("%s: an error without a name: %v", what, err)
}

// exercise does with a chip whatever is done with chips.
func exercise(t testing.TB, p *tpm.Provider, reserve func([]byte) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := p.Status(ctx)
	mustBeNamed(t, "Status", err)
	_, err = p.Identify(ctx)
	mustBeNamed(t, "Identify", err)
	for _, pinText := range []string{"", rightPIN} {
		template := bound(pinText)
		template.Reserve = reserve
		key, err := p.Create(ctx, template)
		mustBeNamed(t, "Create", err)
		if err == nil {
			exerciseKey(ctx, t, p, key, pinText)
		}
	}
}

func exerciseKey(ctx context.Context, t testing.TB, p *tpm.Provider, key hsm.Key, pinText string) {
	t.Helper()
	for _, pinText := range []string{pinText, wrongPIN} {
		_, err := key.Sign(ctx, digest(), auth(pinText))
		mustBeNamed(t, "Sign", err)
	}
	_, err := key.(hsm.Inspector).Inspect(ctx)
	mustBeNamed(t, "Inspect", err)
	again, err := p.Open(ctx, key.Reference())
	mustBeNamed(t, "Open", err)
	if err == nil {
		_, err = again.Sign(ctx, digest(), auth(pinText))
		mustBeNamed(t, "Sign", err)
	}
	mustBeNamed(t, "Delete", key.Delete(ctx, hsm.Auth{}))
}

// A chip that answers anything at all: no panic, and every error has a name.
func FuzzHostileChip(f *testing.F) {
	f.Add(slices.Concat(recordAnswers(f)...))
	f.Add(bytes.Repeat([]byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0}, 50))
	f.Fuzz(func(t *testing.T, answers []byte) {
		p := tpm.Hostile(bytes.NewReader(answers))
		exercise(t, p, nil)
		_ = p.Close()
	})
}

// recordAnswers is what a true chip says to exercise.
func recordAnswers(f *testing.F) [][]byte {
	f.Helper()
	p, err := tpm.Open(testenv.StartSWTPM(f).Spec())
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	var answers [][]byte
	tpm.Tamper(p, func(rsp []byte) io.Reader {
		answers = append(answers, rsp)
		return bytes.NewReader(rsp)
	})
	exercise(f, p, nil)
	return answers
}

// A true chip, one of whose answers somebody on the way changes: so the fuzzer
// comes past sessions and their nonces. Whatever it does, a wrong PIN never
// signs.
func FuzzTamperedAnswer(f *testing.F) {
	chip := testenv.StartSWTPM(f)
	for _, n := range []uint8{0, 3, 5, 8, 13, 21, 34} {
		f.Add(n, uint16(6), []byte{0, 0, 1, 1})
		f.Add(n, uint16(10), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(n, uint16(24), []byte{})
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, patch []byte) {
		p, err := tpm.Open(chip.Spec())
		if err != nil {
			t.Fatal(err)
		}
		var reservations [][]byte
		tamperOnce(p, which, at, patch)
		exercise(t, p, func(r []byte) error {
			reservations = append(reservations, slices.Clone(r))
			return nil
		})
		for _, r := range reservations { // the answer is spent by now, or never comes
			mustBeNamed(t, "Release", p.Release(t.Context(), r))
		}
		_ = p.Close()
	})
}

// tamperOnce puts the patch into one answer, or cuts it off there.
func tamperOnce(p *tpm.Provider, which uint8, at uint16, patch []byte) {
	n := 0
	tpm.Tamper(p, func(rsp []byte) io.Reader {
		if n++; n-1 != int(which) {
			return bytes.NewReader(rsp)
		}
		at := int(at) % (len(rsp) + 1)
		if len(patch) == 0 {
			return bytes.NewReader(rsp[:at])
		}
		rest := rsp[min(at+len(patch), len(rsp)):]
		return io.MultiReader(bytes.NewReader(rsp[:at]), bytes.NewReader(patch), bytes.NewReader(rest))
	})
}

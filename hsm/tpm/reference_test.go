package tpm_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// A reference whose two halves come from different keys is refused before the
// chip is asked: the index must be the one the key's policy names.
func TestMixedReferences(t *testing.T) {
	p := provider(t, testenv.StartSWTPM(t).Spec())
	refs := map[string][]byte{}
	for name, pinText := range map[string]string{"a": rightPIN, "b": rightPIN, "device": ""} {
		key, err := p.Create(t.Context(), bound(pinText))
		if err != nil {
			t.Fatal(err)
		}
		refs[name] = key.Reference()
	}
	for _, pair := range [][2]string{{"a", "b"}, {"a", "device"}, {"device", "a"}} {
		key, _ := pem.Decode(refs[pair[0]])
		_, appendix := pem.Decode(refs[pair[1]])
		mixed := append(pem.EncodeToMemory(key), appendix...)
		if _, err := p.Open(t.Context(), mixed); !errors.Is(err, hsm.ErrBadReference) {
			t.Errorf("key of %s with appendix of %s: %v", pair[0], pair[1], err)
		}
	}
}

// References of before the creation data was kept still open and sign.
func TestOldReferencesOpen(t *testing.T) {
	p := provider(t, testenv.StartSWTPM(t).Spec())
	for _, pinText := range []string{"", rightPIN} {
		old, err := tpm.AsVersion1(mustCreate(t, p, bound(pinText)).Reference())
		if err != nil {
			t.Fatal(err)
		}
		key := mustOpen(t, p, old)
		mustSign(t, key, pinText)
		if !bytes.Equal(key.Reference(), old) {
			t.Error("the reference was rewritten")
		}
	}
}

// No bytes, however crafted, make Open panic or pass without a chip.
func FuzzOpen(f *testing.F) {
	p, err := tpm.Open("swtpm:/nonexistent/tpm.sock")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("-----BEGIN TSS2 PRIVATE KEY-----\nMAA=\n-----END TSS2 PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, reference []byte) {
		_, err := p.Open(t.Context(), reference)
		if !errors.Is(err, hsm.ErrBadReference) && !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("Open: %v", err)
		}
	})
}

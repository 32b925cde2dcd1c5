package tpm_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// A TPM's own tools load our key file, appendix and all.
func TestKeyFileIsReadByOthers(t *testing.T) {
	testenv.Need(t, "openssl", "tpm2_createprimary", "tpm2_load", "tpm2_readpublic")
	v := newVictim(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, v.reference, 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(v.reference)
	out := run(t, v, bytes.NewReader(block.Bytes), "openssl", "asn1parse", "-inform", "DER")
	if !strings.Contains(out, ":2.23.133.10.1.3") { // id-loadablekey
		t.Errorf("openssl reads the key file as:\n%s", out)
	}
	key := filepath.Join(dir, "key.ctx")
	run(t, v, nil, "tpm2_load", "-Q", "-r", file, "-c", key)
	run(t, v, nil, "tpm2_flushcontext", "-t")
	if out := run(t, v, nil, "tpm2_readpublic", "-c", key); !strings.Contains(out, "adminwithpolicy") {
		t.Errorf("tpm2_readpublic says:\n%s", out)
	}
}

func run(t *testing.T, v *victim, stdin *bytes.Reader, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+v.tpm.Socket())
	if stdin != nil {
		cmd.Stdin = stdin
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

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

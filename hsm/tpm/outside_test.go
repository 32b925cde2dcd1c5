package tpm_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// These tests ask other people's tools.

func run(t *testing.T, chip *testenv.SWTPM, stdin []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+chip.Socket())
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// A TPM's own tools load our key file, appendix and all.
func TestKeyFileIsReadByOthers(t *testing.T) {
	testenv.Need(t, "openssl", "tpm2_load", "tpm2_flushcontext")
	v := newVictim(t)
	block, _ := pem.Decode(v.reference)
	out := run(t, v.tpm, block.Bytes, "openssl", "asn1parse", "-inform", "DER")
	if !strings.Contains(out, ":2.23.133.10.1.3") { // id-loadablekey
		t.Errorf("openssl reads the key file as:\n%s", out)
	}
	loadWithTools(t, v.tpm, v.reference)
}

// loadWithTools returns the file of the loaded key's context.
func loadWithTools(t *testing.T, chip *testenv.SWTPM, reference []byte) string {
	t.Helper()
	dir := t.TempDir()
	file, context := filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.ctx")
	if err := os.WriteFile(file, reference, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, chip, nil, "tpm2_load", "-Q", "-r", file, "-c", context)
	run(t, chip, nil, "tpm2_flushcontext", "-t")
	return context
}

// tpm2_readpublic shows the attributes that everything else rests on.
func TestReadPublicShowsTheAttributes(t *testing.T) {
	testenv.Need(t, "tpm2_load", "tpm2_flushcontext", "tpm2_readpublic", "tpm2_nvreadpublic")
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	references := map[string][]byte{
		"fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign":    mustCreate(t, p, bound("")).Reference(),
		"fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|noda|sign": mustCreate(t, p, bound(rightPIN)).Reference(),
	}
	rec.Answer(tpm2.TPMCCNVDefineSpace, tpm2.TPMRCAttributes)
	references["fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|sign"] = mustCreate(t, p, bound(rightPIN)).Reference()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for want, reference := range references {
		out := run(t, chip, nil, "tpm2_readpublic", "-c", loadWithTools(t, chip, reference))
		if !strings.Contains(out, "value: "+want+"\n") {
			t.Errorf("want the attributes %s, tpm2_readpublic says:\n%s", want, out)
		}
	}
	out := run(t, chip, nil, "tpm2_nvreadpublic")
	const pinFail = 0x80 // its type, as the tool does not spell it
	for _, want := range []string{
		"friendly: policywrite|nt|ownerread|authread|no_da|written\n", fmt.Sprintf("value: 0x%X\n", 0x22060008|pinFail), "size: 8\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q, tpm2_nvreadpublic says:\n%s", want, out)
		}
	}
}

// A hundred wrong PINs, over twenty keys that they lock, leave the counter that
// all share where it was.
func TestHundredWrongPINsMoveNoSharedCounter(t *testing.T) {
	testenv.Need(t, "tpm2_getcap")
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	for range 20 {
		key := mustCreate(t, p, bound(rightPIN))
		for left := 4; left >= 0; left-- {
			mustMiss(t, key, left)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	out := run(t, chip, nil, "tpm2_getcap", "properties-variable")
	if !strings.Contains(out, "TPM2_PT_LOCKOUT_COUNTER: 0x0\n") {
		t.Errorf("tpm2_getcap says:\n%s", out)
	}
}

// OpenSSL takes the certificate requests that our keys sign.
func TestOpenSSLTakesTheRequest(t *testing.T) {
	testenv.Need(t, "openssl")
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	for _, algorithm := range []hsm.Algorithm{hsm.ES256, hsm.RS256} {
		template := bound(rightPIN)
		template.Algorithm = algorithm
		signer := hsm.Signer(t.Context(), mustCreate(t, p, template), auth(rightPIN))
		request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}
		der, err := x509.CreateCertificateRequest(rand.Reader, request, signer)
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, chip, der, "openssl", "req", "-inform", "DER", "-verify", "-noout")
		if !strings.Contains(out, "verify OK") {
			t.Errorf("%s: openssl says:\n%s", algorithm, out)
		}
	}
}

// Whatever bytes the auth values of a hundred PINs are made of, the chip takes
// each right one.
func TestManyPINs(t *testing.T) {
	p := provider(t, testenv.StartSWTPM(t).Spec())
	for i := range 100 {
		pinText := fmt.Sprintf("%012d", i*7919)
		key := mustCreate(t, p, bound(pinText))
		mustSign(t, key, pinText)
		if err := key.Delete(t.Context(), hsm.Auth{}); err != nil {
			t.Fatal(err)
		}
	}
}

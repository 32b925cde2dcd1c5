package virtualpiv_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
)

// toolbox runs programs that are not ours on a card. They find the daemon by
// their environment, so these tests run in parallel.
type toolbox struct {
	t     *testing.T
	dir   string
	pcscd *testenv.PCSCD
	card  *virtualpiv.Card
}

func newToolbox(t *testing.T) *toolbox {
	t.Helper()
	card := virtualpiv.New(t, virtualpiv.WithFirmware("5.4.3"))
	return &toolbox{t, t.TempDir(), testenv.StartPCSCD(t, card), card}
}

// run runs a program and returns all that it said.
func (b *toolbox) run(name string, args ...string) (string, error) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), name, args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), b.pcscd.Env())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs a program that has to succeed.
func (b *toolbox) must(name string, args ...string) string {
	b.t.Helper()
	out, err := b.run(name, args...)
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// certified generates a key in a slot and gives the slot a certificate for it,
// with yubico-piv-tool.
func (b *toolbox) certified(slot, algorithm string) {
	b.t.Helper()
	b.must("yubico-piv-tool", "-a", "generate", "-s", slot, "-A", algorithm, "-o", "public.pem")
	cert := certify(b.t, b.publicKey("public.pem"))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := os.WriteFile(filepath.Join(b.dir, "cert.pem"), text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.must("yubico-piv-tool", "-a", "import-certificate", "-s", slot, "-i", "cert.pem")
}

func (b *toolbox) pem(file string) []byte {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil {
		b.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		b.t.Fatalf("%s has no PEM in it: %s", file, text)
	}
	return block.Bytes
}

func (b *toolbox) publicKey(file string) crypto.PublicKey {
	b.t.Helper()
	pub, err := x509.ParsePKIXPublicKey(b.pem(file))
	if err != nil {
		b.t.Fatal(err)
	}
	return pub
}

func TestYubicoPIVToolAgrees(t *testing.T) {
	testenv.Need(t, "yubico-piv-tool")
	t.Parallel()
	b := newToolbox(t)

	status := b.must("yubico-piv-tool", "-a", "status")
	for _, want := range []string{"5.4.3", "PIN tries left:\t3", "CHUID:\tNo data available"} {
		if !strings.Contains(status, want) {
			t.Errorf("status has no %q:\n%s", want, status)
		}
	}
	for _, args := range []string{"set-chuid", "set-ccc", "verify-pin -P 123456"} {
		b.must("yubico-piv-tool", append([]string{"-a"}, strings.Fields(args)...)...)
	}
	if out, err := b.run("yubico-piv-tool", "-a", "verify-pin", "-P", "999999"); err == nil || !strings.Contains(out, "2 tries left") {
		t.Errorf("a wrong PIN: %v\n%s", err, out)
	}
	if n := b.card.PINTriesLeft(); n != 2 {
		t.Errorf("the card counts %d tries", n)
	}
	b.must("yubico-piv-tool", "-a", "change-pin", "-P", "123456", "-N", "271828")
	b.must("yubico-piv-tool", "-a", "verify-pin", "-P", "271828")
	if status := b.must("yubico-piv-tool", "-a", "status"); strings.Contains(status, "CHUID:\tNo data available") {
		t.Errorf("what was written is not there:\n%s", status)
	}
}

// TestYubicoPIVToolUsesKeys makes each kind of key, lets the card sign, and
// lets the tool verify.
func TestYubicoPIVToolUsesKeys(t *testing.T) {
	testenv.Need(t, "yubico-piv-tool")
	t.Parallel()
	for algorithm, slot := range map[string]string{"ECCP256": "9a", "ECCP384": "82", "RSA2048": "9d"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			b := newToolbox(t)
			b.certified(slot, algorithm)
			out := b.must("yubico-piv-tool", "-a", "verify-pin", "-P", "123456", "-a", "test-signature", "-s", slot, "-i", "cert.pem")
			if !strings.Contains(out, "Successful") {
				t.Errorf("test-signature says:\n%s", out)
			}
			out, err := b.run("yubico-piv-tool", "-a", "test-signature", "-s", slot, "-i", "cert.pem")
			if err == nil && strings.Contains(out, "Successful") {
				t.Error("the card signed without a PIN")
			}
		})
	}
}

// TestAttestationAsOpenSSLSeesIt checks the chain and what the extensions say
// with a program that knows nothing of us.
func TestAttestationAsOpenSSLSeesIt(t *testing.T) {
	testenv.Need(t, "yubico-piv-tool", "openssl")
	t.Parallel()
	b := newToolbox(t)
	b.must("yubico-piv-tool", "-a", "generate", "-s", "9a", "-A", "ECCP256", "--pin-policy", "always", "--touch-policy", "cached", "-o", "public.pem")
	b.must("yubico-piv-tool", "-a", "attest", "-s", "9a", "-o", "leaf.pem")
	b.must("yubico-piv-tool", "-a", "read-certificate", "-s", "f9", "-o", "f9.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.card.Root().Raw})
	if err := os.WriteFile(filepath.Join(b.dir, "root.pem"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	b.must("openssl", "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "f9.pem", "leaf.pem")

	leaf := b.must("openssl", "x509", "-in", "leaf.pem", "-noout", "-subject", "-issuer")
	for _, want := range []string{"CN = YubiKey PIV Attestation 9a", "CN = Yubico PIV Attestation"} {
		if !strings.Contains(leaf, want) {
			t.Errorf("no %q in:\n%s", want, leaf)
		}
	}
	cert, err := x509.ParseCertificate(b.pem("leaf.pem"))
	if err != nil {
		t.Fatal(err)
	}
	wantExtensions(t, cert, b.card.Serial())
	if pub := b.card.PublicKey(virtualpiv.Authentication); !cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
		t.Error("another key is attested")
	}
}

func wantExtensions(t *testing.T, cert *x509.Certificate, serial uint32) {
	t.Helper()
	want := map[string][]byte{
		"1.3.6.1.4.1.41482.3.3": {5, 4, 3},
		"1.3.6.1.4.1.41482.3.7": {0x02, 0x04, byte(serial >> 24), byte(serial >> 16), byte(serial >> 8), byte(serial)},
		"1.3.6.1.4.1.41482.3.8": {3, 3},
		"1.3.6.1.4.1.41482.3.9": {1},
	}
	for _, ext := range cert.Extensions {
		id := ext.Id.String()
		if value, ok := want[id]; ok && bytes.Equal(value, ext.Value) {
			delete(want, id)
		}
	}
	for id, value := range want {
		t.Errorf("extension %s does not say %x", id, value)
	}
}

// TestOpenSCAgrees runs the tests that OpenSC brings, on a key of each kind.
func TestOpenSCAgrees(t *testing.T) {
	testenv.Need(t, "yubico-piv-tool", "pkcs11-tool")
	t.Parallel()
	b := newToolbox(t)
	b.must("yubico-piv-tool", "-a", "set-chuid")
	b.certified("9a", "ECCP256")
	b.certified("9d", "RSA2048")
	b.certified("9c", "RSA2048")

	out := b.must("pkcs11-tool", "--test", "--login", "--pin", "123456")
	if !strings.Contains(out, "No errors") {
		t.Errorf("pkcs11-tool found errors:\n%s", out)
	}
	// Two keys that sign, verify and decrypt.
	if ok := regexp.MustCompile(`RSA-X-509: OK\n`).FindAllString(out, -1); len(ok) != 6 {
		t.Errorf("pkcs11-tool tested %d of 6 things:\n%s", len(ok), out)
	}
	if n := b.card.PINTriesLeft(); n != 3 {
		t.Errorf("OpenSC has spent a try: %d left", n)
	}
}

// TestOpenSCSignsWithAnEllipticCurve does what pkcs11-tool has no test for.
func TestOpenSCSignsWithAnEllipticCurve(t *testing.T) {
	testenv.Need(t, "yubico-piv-tool", "pkcs11-tool")
	t.Parallel()
	b := newToolbox(t)
	b.must("yubico-piv-tool", "-a", "set-chuid")
	b.certified("9a", "ECCP256")
	digest := sha256.Sum256([]byte("pay 10 euros"))
	if err := os.WriteFile(filepath.Join(b.dir, "digest"), digest[:], 0o600); err != nil {
		t.Fatal(err)
	}
	b.must("pkcs11-tool", "--sign", "--mechanism", "ECDSA", "--id", "01", "--login", "--pin", "123456",
		"--signature-format", "openssl", "--input-file", "digest", "--output-file", "signature")
	signature, err := os.ReadFile(filepath.Join(b.dir, "signature"))
	if err != nil {
		t.Fatal(err)
	}
	if !ecdsa.VerifyASN1(b.publicKey("public.pem").(*ecdsa.PublicKey), digest[:], signature) {
		t.Error("the signature is wrong")
	}
}

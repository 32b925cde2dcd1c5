package protocol_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/protocol"
)

func newRSA(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	return must(rsa.GenerateKey(rand.Reader, bits))
}

// TestApprovalKeyMayBeRSA signs a decision with RS256 and has OpenSSL, which
// knows nothing of us, check it too.
func TestApprovalKeyMayBeRSA(t *testing.T) {
	key := newRSA(t, 2048)
	compact := must(protocol.SignDecision(key, decision("x.y.z", request())))
	if _, err := protocol.ParseDecision(compact, must(protocol.NewKeys(key.Public()))); err != nil {
		t.Fatal(err)
	}
	testenv.Need(t, "openssl")
	dir := t.TempDir()
	cut := strings.LastIndexByte(compact, '.')
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))})
	for name, data := range map[string][]byte{
		"key": public, "message": []byte(compact[:cut]), "signature": must(base64.RawURLEncoding.DecodeString(compact[cut+1:])),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature", "message")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("OpenSSL refuses the signature: %v %s", err, out)
	}
}

func TestRSASignsDecisionsAlone(t *testing.T) {
	key := newRSA(t, 2048)
	if _, err := protocol.SignRequest(key, request()); codeOf(err) != protocol.CodeBadJWS {
		t.Errorf("a request signed with RS256: %v", err)
	}
	keys := must(protocol.NewKeys(key.Public()))
	forged := rsaJWS(t, key, `{"alg":"RS256","kid":"`+must(protocol.Thumbprint(key.Public()))+`","typ":"`+typRequest+`"}`, mustJSON(request()))
	if _, err := protocol.ParseRequest(forged, keys); codeOf(err) != protocol.CodeBadJWS {
		t.Errorf("a request in RS256 is taken: %v", err)
	}
}

// TestAlgorithmIsTheKeys refuses a header that names the other algorithm.
func TestAlgorithmIsTheKeys(t *testing.T) {
	key, other := newRSA(t, 2048), newTestKey("approval")
	claims := mustJSON(decision("x.y.z", request()))
	keys := must(protocol.NewKeys(key.Public(), other.Public()))
	header := func(alg, kid string) string {
		return `{"alg":"` + alg + `","kid":"` + kid + `","typ":"` + typDecision + `"}`
	}
	rsaKid := must(protocol.Thumbprint(key.Public()))
	for name, tt := range map[string]struct{ compact, code string }{
		"as it is":        {rsaJWS(t, key, header("RS256", rsaKid), claims), ""},
		"RSA says ES256":  {rsaJWS(t, key, header("ES256", rsaKid), claims), protocol.CodeBadJWS},
		"RSA says PS256":  {rsaJWS(t, key, header("PS256", rsaKid), claims), protocol.CodeBadJWS},
		"RSA says HS256":  {rsaJWS(t, key, header("HS256", rsaKid), claims), protocol.CodeBadJWS},
		"EC says RS256":   {other.jws(header("RS256", other.kid()), claims), protocol.CodeBadJWS},
		"RSA by EC":       {other.jws(header("RS256", rsaKid), claims), protocol.CodeBadSignature},
		"another RSA key": {rsaJWS(t, newRSA(t, 2048), header("RS256", rsaKid), claims), protocol.CodeBadSignature},
	} {
		_, err := protocol.ParseDecision(tt.compact, keys)
		if codeOf(err) != tt.code {
			t.Errorf("%s: %v, want %q", name, err, tt.code)
		}
	}
}

func TestOtherRSAKeysAreRefused(t *testing.T) {
	short := newRSA(t, 1024)
	odd := newRSA(t, 2048).PublicKey
	odd.E = 3
	for name, pub := range map[string]crypto.PublicKey{"1024 bits": short.Public(), "3072 bits": newRSA(t, 3072).Public(), "exponent 3": &odd} {
		if _, err := protocol.NewKeys(pub); codeOf(err) != protocol.CodeUnknownKey {
			t.Errorf("a key of %s: %v", name, err)
		}
	}
}

// TestDeviceKeyIsNeverRSA: not even a CA can make an RSA key a device's.
func TestDeviceKeyIsNeverRSA(t *testing.T) {
	w := newWorld()
	key := newRSA(t, 2048)
	for role, code := range map[protocol.Role]string{protocol.RoleApproval: "", protocol.RoleDevice: protocol.CodeBadCert} {
		w.info.Role = role
		w.decision = func(d *protocol.Decision) {
			if role == protocol.RoleDevice {
				deny(d, protocol.ReasonCancelled)
			}
		}
		if _, err := w.evidenceByRSA(t, key).Verify(pool(w.root)); codeOf(err) != code {
			t.Errorf("an RSA key in the %s role: %v, want %q", role, err, code)
		}
	}
}

// evidenceByRSA is w's evidence, with a decision signed by an RSA key.
func (w *world) evidenceByRSA(tb testing.TB, key *rsa.PrivateKey) *protocol.Evidence {
	tb.Helper()
	e := w.evidence()
	d := decision(e.Request, w.request)
	w.decision(d)
	header := `{"alg":"RS256","kid":"` + must(protocol.Thumbprint(key.Public())) + `","typ":"` + typDecision + `"}`
	e.Decision = rsaJWS(tb, key, header, mustJSON(d))
	state := protocol.StateApproved
	if d.Decision == protocol.Deny {
		state = protocol.StateDenied
	}
	e.Receipt = w.issuer.jws(w.issuer.header(typReceipt), mustJSON(receipt(e.Decision, d, state)))
	e.Certificates = w.inter.issue(key.Public(), w.info, nil)
	return e
}

func rsaJWS(tb testing.TB, key *rsa.PrivateKey, header, payload string) string {
	tb.Helper()
	input := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	return input + "." + b64(string(must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]))))
}

package protocol_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/protocol"
)

// TestEvidenceByHand runs the published script, which knows openssl and jq
// alone, over the published evidence and over forgeries of it.
func TestEvidenceByHand(t *testing.T) {
	testenv.Need(t, "sh", "openssl", "jq", "basenc")
	expired := newWorld()
	expired.receipt = func(r *protocol.Receipt) { r.IssuedAt = notAfter.Unix() + 1 }
	for name, tt := range map[string]struct {
		forge func(e *protocol.Evidence)
		says  string
	}{
		"published":        {func(*protocol.Evidence) {}, "dev-1 decided to approve txn-1 at class C2"},
		"request altered":  {func(e *protocol.Evidence) { e.Request = flip(e.Request, len(e.Request)-9) }, "Verification failure"},
		"decision altered": {func(e *protocol.Evidence) { e.Decision = flip(e.Decision, len(e.Decision)-9) }, "Verification failure"},
		"receipt altered":  {func(e *protocol.Evidence) { e.Receipt = flip(e.Receipt, len(e.Receipt)-9) }, "Verification failure"},
		"other request": {func(e *protocol.Evidence) {
			e.Request = must(protocol.SignRequest(newTestKey("issuer"), bareRequest()))
		}, "the request does not match"},
		"other decision": {func(e *protocol.Evidence) {
			d := decision(e.Request, request())
			d.Number = "111111"
			e.Decision = must(protocol.SignDecision(newTestKey("approval"), d))
		}, "the decision does not match"},
		"other device": {func(e *protocol.Evidence) {
			w := newWorld()
			w.signerCert = func(c *x509.Certificate) { c.Subject.CommonName = "dev-2" }
			*e = *w.evidence()
		}, "the device does not match"},
		"other attestation": {func(e *protocol.Evidence) { e.Attestation.PINBound = false }, "the attestation does not match"},
		"foreign root": {func(e *protocol.Evidence) {
			w := newWorld()
			w.inter = newTestCA("foreign", nil)
			e.Certificates = w.evidence().Certificates
		}, "verification failed"},
		"expired": {func(e *protocol.Evidence) { *e = *expired.evidence() }, "certificate has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newWorld().evidence()
			tt.forge(e)
			path := filepath.Join(t.TempDir(), "evidence.json")
			if err := os.WriteFile(path, []byte(mustJSON(e)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("sh", "testdata/verify_openssl.sh", path, "testdata/root.pem").CombinedOutput()
			if (err == nil) != (name == "published") || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestEvidenceByTheDemo runs the demo's verifier over evidence that every
// signature holds for, and that yet proves nothing.
func TestEvidenceByTheDemo(t *testing.T) {
	testenv.Need(t, "bash", "openssl", "jq")
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, []byte(pemOf(newWorld().root.cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*world){
		"good": func(*world) {},
		"certificate of another device": func(w *world) {
			w.signerCert = func(c *x509.Certificate) { c.Subject.CommonName = "dev-2" }
		},
		"receipt after expiry": func(w *world) {
			w.receipt = func(r *protocol.Receipt) { r.IssuedAt = w.request.ExpiresAt + 1 }
		},
		"receipt before the request": func(w *world) {
			w.receipt = func(r *protocol.Receipt) { r.IssuedAt = w.request.IssuedAt - 1 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			change(w)
			path := filepath.Join(t.TempDir(), "evidence.json")
			if err := os.WriteFile(path, []byte(mustJSON(w.evidence())), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("../demo/verify-evidence", path, root).CombinedOutput()
			if (err == nil) != (name == "good") || strings.HasSuffix(string(out), "\nVerified\n") != (name == "good") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestDocumentedScript keeps the script in the documentation the one that is
// tested, and the documented example the published one.
func TestDocumentedScript(t *testing.T) {
	doc := string(readFile(t, filepath.Join("..", "docs", "protocol.md")))
	if script := string(readFile(t, "testdata/verify_openssl.sh")); !strings.Contains(doc, "```sh\n"+script+"```\n") {
		t.Error("docs/protocol.md does not hold testdata/verify_openssl.sh as it is")
	}
	var record string
	for _, d := range readVectors(t).Displays {
		if d.Request == "request-c2" && d.TZ == "Europe/Berlin" && d.Lang == "en" {
			record = strings.Join(d.Lines, "\n") + "\n"
		}
	}
	if !strings.Contains(doc, "```text\n"+record+"```\n") {
		t.Error("docs/protocol.md does not hold the display record of the vectors")
	}
}

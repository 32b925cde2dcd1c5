package protocol_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/protocol"
)

// world is a server, its CA and a device, and one decided request.
type world struct {
	root, inter      *testCA
	issuer, dev, app testKey

	request  *protocol.Request
	decision func(*protocol.Decision)
	receipt  func(*protocol.Receipt)
	signer   testKey
	info     protocol.KeyInfo
	// signerCert and issuerCert change what the CA certifies.
	signerCert, issuerCert func(*x509.Certificate)
	issuerInfo             protocol.KeyInfo
}

func newWorld() *world {
	w := &world{
		root: newTestCA("root", nil), issuer: newTestKey("issuer"), dev: newTestKey("device"), app: newTestKey("approval"),
		request:    request(),
		info:       protocol.KeyInfo{Role: protocol.RoleApproval, PINBound: true, Attestation: "tpm2"},
		issuerInfo: protocol.KeyInfo{Role: protocol.RoleIssuer},
	}
	w.inter, w.signer = newTestCA("intermediate", w.root), w.app
	return w
}

// byDeviceKey is an approval of class C1, verified in this way.
func (w *world) byDeviceKey(method, uv string) {
	w.request.Method, w.request.Class = method, protocol.C1
	w.signer, w.info = w.dev, protocol.KeyInfo{Role: protocol.RoleDevice, Attestation: "tpm2"}
	w.decision = func(d *protocol.Decision) { d.UV.Method = uv }
}

// evidence signs and certifies everything, without asking whether it may.
func (w *world) evidence() *protocol.Evidence {
	req := w.issuer.jws(w.issuer.header(typRequest), mustJSON(w.request))
	d := decision(req, w.request)
	if w.decision != nil {
		w.decision(d)
	}
	dec := w.signer.jws(w.signer.header(typDecision), mustJSON(d))
	state := protocol.StateApproved
	if d.Decision == protocol.Deny {
		state = protocol.StateDenied
	}
	r := receipt(dec, d, state)
	r.Attestation.PINBound, r.Attestation.TouchBound = w.info.PINBound, w.info.TouchBound
	if w.receipt != nil {
		w.receipt(r)
	}
	return &protocol.Evidence{
		Request: req, Decision: dec, Receipt: w.issuer.jws(w.issuer.header(typReceipt), mustJSON(r)),
		Certificates:       w.inter.issue(w.signer.Public(), w.info, w.signerCert),
		IssuerCertificates: w.inter.issue(w.issuer.Public(), w.issuerInfo, w.issuerCert),
		Attestation:        r.Attestation,
	}
}

func TestEvidenceVerifies(t *testing.T) {
	for name, change := range map[string]func(*world){
		"approved": func(*world) {},
		"denied by the device key": func(w *world) {
			w.signer, w.info = w.dev, protocol.KeyInfo{Role: protocol.RoleDevice, Attestation: "tpm2"}
			w.decision = func(d *protocol.Decision) { deny(d, protocol.ReasonNotMe) }
		},
		"approved at C1": func(w *world) {
			w.byDeviceKey(protocol.MethodPush, protocol.UVNone)
		},
		"approved by a fingerprint": func(w *world) {
			w.byDeviceKey(protocol.MethodFingerprint, protocol.UVFingerprint)
		},
		"approved by the PIN, without a fingerprint": func(w *world) {
			w.request.Method, w.request.Class = protocol.MethodFingerprint, protocol.C1
			w.decision = func(d *protocol.Decision) { d.UV.Class = protocol.C2 }
		},
		"approved at C3": func(w *world) { w.request.Class, w.info.TouchBound = protocol.C3, true },
		"in the last second": func(w *world) {
			w.receipt = func(r *protocol.Receipt) { r.IssuedAt = w.request.ExpiresAt }
		},
		"without an intermediate": func(w *world) { w.inter = w.root },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			change(w)
			e := w.evidence()
			for _, roots := range []*x509.CertPool{pool(w.root), pool(newTestCA("other", nil), w.root), nil} {
				v, err := e.Verify(roots)
				if err != nil {
					t.Fatal(err)
				}
				if mustJSON(v.Request) != mustJSON(w.request) || v.Key != w.info || v.Display.Hash() != v.Decision.Display ||
					v.Receipt.Attestation != e.Attestation {
					t.Errorf("verified %+v", v)
				}
			}
		})
	}
}

func TestEvidenceRefuses(t *testing.T) {
	type change = func(*world)
	expired := func(c *x509.Certificate) { c.NotAfter = time.Unix(1790000020, 0) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Unix(1790000022, 0) }
	for name, tt := range map[string]struct {
		change change
		code   string
	}{
		"signed by the device key": {func(w *world) {
			w.signer, w.info.Role = w.dev, protocol.RoleDevice
		}, protocol.CodeMismatch},
		"denied by the approval key": {func(w *world) {
			w.decision = func(d *protocol.Decision) { deny(d, protocol.ReasonNotMe) }
		}, protocol.CodeMismatch},
		"signed by an issuer key":      {func(w *world) { w.info.Role = protocol.RoleIssuer }, protocol.CodeMismatch},
		"signed by a machine key":      {func(w *world) { w.info.Role = protocol.RoleMachine }, protocol.CodeMismatch},
		"C3 without touch":             {func(w *world) { w.request.Class = protocol.C3 }, protocol.CodeMismatch},
		"server with a device key":     {func(w *world) { w.issuerInfo.Role = protocol.RoleDevice }, protocol.CodeBadCert},
		"unknown role":                 {func(w *world) { w.info.Role = "admin" }, protocol.CodeBadCert},
		"signer expired":               {func(w *world) { w.signerCert = expired }, protocol.CodeBadCert},
		"signer not yet valid":         {func(w *world) { w.signerCert = future }, protocol.CodeBadCert},
		"issuer expired":               {func(w *world) { w.issuerCert = expired }, protocol.CodeBadCert},
		"issuer not yet valid":         {func(w *world) { w.issuerCert = future }, protocol.CodeBadCert},
		"no key information":           {func(w *world) { w.signerCert = func(c *x509.Certificate) { c.ExtraExtensions = nil } }, protocol.CodeBadCert},
		"no issuer key information":    {func(w *world) { w.issuerCert = func(c *x509.Certificate) { c.ExtraExtensions = nil } }, protocol.CodeBadCert},
		"signer is a CA":               {func(w *world) { w.signerCert = asCA }, protocol.CodeBadCert},
		"issuer is a CA":               {func(w *world) { w.issuerCert = asCA }, protocol.CodeBadCert},
		"critical extension":           {func(w *world) { w.signerCert = critical }, protocol.CodeBadCert},
		"foreign CA":                   {func(w *world) { w.inter = newTestCA("intermediate", newTestCA("foreign", nil)) }, protocol.CodeBadCert},
		"intermediate is no CA":        {func(w *world) { w.inter = notCA(w.root) }, protocol.CodeBadCert},
		"receipt before the request":   {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.IssuedAt = w.request.IssuedAt - 1 } }, protocol.CodeMismatch},
		"receipt after expiry":         {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.IssuedAt = w.request.ExpiresAt + 1 } }, protocol.CodeMismatch},
		"receipt of a denial":          {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.State = protocol.StateDenied } }, protocol.CodeMismatch},
		"receipt of an expiry":         {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.State = protocol.StateExpired } }, protocol.CodeMismatch},
		"receipt for another device":   {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.Audience = "dev-2" } }, protocol.CodeMismatch},
		"receipt for another bytes":    {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.Decision = protocol.NoPrev } }, protocol.CodeMismatch},
		"verdict on another key":       {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.Attestation.PINBound = false } }, protocol.CodeMismatch},
		"receipt of another server":    {func(w *world) { w.receipt = func(r *protocol.Receipt) { r.Issuer = "https://other.example" } }, protocol.CodeMismatch},
		"decision on another request":  {func(w *world) { w.decision = func(d *protocol.Decision) { d.Request = protocol.NoPrev } }, protocol.CodeMismatch},
		"decision on another display":  {func(w *world) { w.decision = func(d *protocol.Decision) { d.Display = protocol.NoPrev } }, protocol.CodeMismatch},
		"decision without fingerprint": {func(w *world) { w.byDeviceKey(protocol.MethodFingerprint, protocol.UVNone) }, protocol.CodeMismatch},
		"decision of a lower class":    {func(w *world) { w.decision = func(d *protocol.Decision) { d.UV.Class = protocol.C1 } }, protocol.CodeMismatch},
		"decision in the machine's zone": {func(w *world) {
			w.decision = func(d *protocol.Decision) { d.TimeZone = "localtime" }
		}, protocol.CodeBadMessage},
		"certificate of another device": {func(w *world) {
			w.signerCert = func(c *x509.Certificate) { c.Subject.CommonName = "dev-2" }
		}, protocol.CodeMismatch},
		"certificate of no device": {func(w *world) {
			w.signerCert = func(c *x509.Certificate) { c.Subject = pkix.Name{} }
		}, protocol.CodeMismatch},
		"invalid request": {func(w *world) { w.request.Method = "sms" }, protocol.CodeBadMessage},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			tt.change(w)
			v, err := w.evidence().Verify(pool(newWorld().root))
			wantCode(t, err, tt.code)
			if v != nil {
				t.Error("refused and yet returned")
			}
		})
	}
}

func asCA(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }

func critical(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
}

// notCA is an intermediate that its root never allowed to certify.
func notCA(root *testCA) *testCA {
	key := newTestKey("CA leaf")
	return &testCA{key: key, parent: root, cert: signCert(certTemplate("leaf"), root.cert, key.Public(), root.key)}
}

func TestEvidencePartsAreNotExchangeable(t *testing.T) {
	w, other := newWorld(), newWorld()
	other.request.ID, other.app = "txn-2", newTestKey("other approval")
	other.signer = other.app
	for name, change := range map[string]func(e, o *protocol.Evidence){
		"request":             func(e, o *protocol.Evidence) { e.Request = o.Request },
		"decision":            func(e, o *protocol.Evidence) { e.Decision = o.Decision },
		"receipt":             func(e, o *protocol.Evidence) { e.Receipt = o.Receipt },
		"certificates":        func(e, o *protocol.Evidence) { e.Certificates = o.Certificates },
		"decision with chain": func(e, o *protocol.Evidence) { e.Decision, e.Certificates = o.Decision, o.Certificates },
		"chains": func(e, _ *protocol.Evidence) {
			e.Certificates, e.IssuerCertificates = e.IssuerCertificates, e.Certificates
		},
		"issuer chain":         func(e, _ *protocol.Evidence) { e.IssuerCertificates = e.Certificates },
		"request and decision": func(e, _ *protocol.Evidence) { e.Request, e.Decision = e.Decision, e.Request },
		"request and receipt":  func(e, _ *protocol.Evidence) { e.Request, e.Receipt = e.Receipt, e.Request },
		"attested":             func(e, _ *protocol.Evidence) { e.Attestation.Attested = false },
		"chip":                 func(e, _ *protocol.Evidence) { e.Attestation.Chip.Vendor = "STM" },
		"no request":           func(e, _ *protocol.Evidence) { e.Request = "" },
		"no certificates":      func(e, _ *protocol.Evidence) { e.Certificates = nil },
		"no issuer":            func(e, _ *protocol.Evidence) { e.IssuerCertificates = nil },
		"leaf only":            func(e, _ *protocol.Evidence) { e.Certificates = e.Certificates[:1] },
		"issuer leaf only":     func(e, _ *protocol.Evidence) { e.IssuerCertificates = e.IssuerCertificates[:1] },
		"chain upside down":    func(e, _ *protocol.Evidence) { slices.Reverse(e.Certificates) },
		"empty certificate":    func(e, _ *protocol.Evidence) { e.Certificates[1] = "" },
		"two blocks in one":    func(e, _ *protocol.Evidence) { e.Certificates[0] += e.Certificates[1] },
		"text before":          func(e, _ *protocol.Evidence) { e.Certificates[0] = "Issued to you\n" + e.Certificates[0] },
		"text after":           func(e, _ *protocol.Evidence) { e.Certificates[0] += "x" },
		"PEM headers": func(e, _ *protocol.Evidence) {
			e.Certificates[0] = strings.Replace(e.Certificates[0], "-----\n", "-----\nA: b\n\n", 1)
		},
		"another kind of block": func(e, _ *protocol.Evidence) {
			e.Certificates[0] = strings.ReplaceAll(e.Certificates[0], "CERTIFICATE", "PUBLIC KEY")
		},
		"no DER":          func(e, _ *protocol.Evidence) { e.Certificates[0] = pemBlock([]byte("x")) },
		"DER with a tail": func(e, _ *protocol.Evidence) { e.Certificates[0] = pemBlock(append(derOf(e.Certificates[0]), 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := w.evidence()
			change(e, other.evidence())
			for _, roots := range []*x509.CertPool{pool(w.root), nil} {
				v, err := e.Verify(roots)
				// Without roots a lone leaf is its own.
				consistent := roots == nil && strings.Contains(name, "leaf only")
				if (err == nil || v != nil) && !consistent {
					t.Errorf("accepted with roots %v: %v", roots != nil, err)
				}
				if codeOf(err) == "not a protocol.Error" {
					t.Error(err)
				}
			}
		})
	}
}

func pemBlock(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func derOf(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	return bytes.Clone(block.Bytes)
}

// TestEvidenceEachByte alters every character of the messages and every byte
// of each certificate that is not itself the trusted root.
func TestEvidenceEachByte(t *testing.T) {
	w := newWorld()
	roots := pool(w.root)
	whole := w.evidence()
	refused := func(what string, at int, change func(*protocol.Evidence)) {
		e := *whole
		e.Certificates, e.IssuerCertificates = slices.Clone(e.Certificates), slices.Clone(e.IssuerCertificates)
		change(&e)
		if _, err := e.Verify(roots); err == nil {
			t.Errorf("%s with byte %d altered is accepted", what, at)
		}
	}
	for what, part := range map[string]func(*protocol.Evidence) *string{
		"request":  func(e *protocol.Evidence) *string { return &e.Request },
		"decision": func(e *protocol.Evidence) *string { return &e.Decision },
		"receipt":  func(e *protocol.Evidence) *string { return &e.Receipt },
	} {
		for i := range len(*part(whole)) {
			refused(what, i, func(e *protocol.Evidence) { p := part(e); *p = flip(*p, i) })
		}
	}
	for what, part := range map[string]func(*protocol.Evidence) *string{
		"signer certificate":       func(e *protocol.Evidence) *string { return &e.Certificates[0] },
		"issuer certificate":       func(e *protocol.Evidence) *string { return &e.IssuerCertificates[0] },
		"intermediate certificate": func(e *protocol.Evidence) *string { return &e.Certificates[1] },
	} {
		for i := range derOf(*part(whole)) {
			refused(what, i, func(e *protocol.Evidence) {
				der := derOf(*part(e))
				der[i] ^= 1
				*part(e) = pemBlock(der)
			})
		}
	}
}

// flip changes one character to another of the same alphabet.
func flip(s string, i int) string {
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// TestEvidenceTakesP256Only has a certificate with a key that cannot sign in
// the profile.
func TestEvidenceTakesP256Only(t *testing.T) {
	w := newWorld()
	e := w.evidence()
	p384 := must(ecdsa.ParseRawPrivateKey(elliptic.P384(), bytes.Repeat([]byte{1}, 48)))
	template := certTemplate("approval")
	template.ExtraExtensions = []pkix.Extension{must(w.info.Extension())}
	der := must(x509.CreateCertificate(nil, template, w.inter.cert, p384.Public(), w.inter.key))
	e.Certificates[0] = pemBlock(der)
	_, err := e.Verify(pool(w.root))
	if code := codeOf(err); code != protocol.CodeUnknownKey && code != protocol.CodeBadCert {
		t.Errorf("refused with %q (%v)", code, err)
	}
}

package protocol

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"slices"
	"time"
)

// Evidence is everything that proves one decision to somebody who trusts only
// the server's CA certificates.
type Evidence struct {
	// Compact JWS, as they went over the wire.
	Request  string `json:"request"`
	Decision string `json:"decision"`
	Receipt  string `json:"receipt"`
	// Certificates is the chain of the key that signed the decision, PEM,
	// leaf first, root last; IssuerCertificates that of the server's key.
	// The common name of the first leaf is the device id.
	Certificates       []string `json:"certificates"`
	IssuerCertificates []string `json:"issuer_certificates"`
	// Attestation repeats the receipt's verdict.
	Attestation Verdict `json:"attestation"`
}

// MaxEvidence is the size in bytes over which an evidence document is refused
// unread.
const MaxEvidence = 1 << 20

// ParseEvidence reads an evidence document: every member there, known and given
// once. Otherwise somebody could read in it what Verify never saw. Nothing is
// verified yet. It returns *Error.
func ParseEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, errorf(CodeTooLarge, "the evidence is over %d bytes", MaxEvidence)
	}
	// Text is judged where it is signed; certificates hold line ends.
	if err := checkDocument(data, func(string) error { return nil }); err != nil {
		return nil, err
	}
	e := new(Evidence)
	if json.Unmarshal(data, e) != nil || !encodesTo(e, data) {
		return nil, errorf(CodeBadMessage, "the evidence has an unknown member, or lacks one")
	}
	return e, nil
}

// encodesTo reports whether v is all that a document says.
func encodesTo(v any, document []byte) bool {
	var given, made any
	encoded, err := json.Marshal(v)
	return err == nil && json.Unmarshal(document, &given) == nil && json.Unmarshal(encoded, &made) == nil && reflect.DeepEqual(given, made)
}

// Verified is what evidence proves once it is verified.
type Verified struct {
	Request  *Request
	Decision *Decision
	Receipt  *Receipt
	Display  Record
	Key      KeyInfo
}

// Verify checks e against trusted roots; with nil roots it trusts the roots
// that e itself brings, which proves only that e is consistent. It needs no
// network and no clock: certificates are judged at the receipt's time.
func (e *Evidence) Verify(roots *x509.CertPool) (*Verified, error) {
	issuer, err := parseChain(e.IssuerCertificates, roots)
	if err != nil {
		return nil, err
	}
	signer, err := parseChain(e.Certificates, roots)
	if err != nil {
		return nil, err
	}
	v, err := e.parse(issuer, signer)
	if err != nil {
		return nil, err
	}
	at := time.Unix(v.Receipt.IssuedAt, 0)
	if err := issuer.verify(at, RoleIssuer); err != nil {
		return nil, err
	}
	if err := signer.verify(at, v.Key.Role); err != nil {
		return nil, err
	}
	// The CA says whose key it is: one device cannot decide as another.
	if signer.leaf.Subject.CommonName != v.Decision.Issuer {
		return nil, errorf(CodeMismatch, "the decision is signed with another device's key")
	}
	if err := v.consistent(e); err != nil {
		return nil, err
	}
	return v, nil
}

func (e *Evidence) parse(issuer, signer chain) (*Verified, error) {
	issuerKeys, err := issuer.keys()
	if err != nil {
		return nil, err
	}
	signerKeys, err := signer.keys()
	if err != nil {
		return nil, err
	}
	v := new(Verified)
	if v.Request, err = ParseRequest(e.Request, issuerKeys); err != nil {
		return nil, err
	}
	if v.Receipt, err = ParseReceipt(e.Receipt, issuerKeys); err != nil {
		return nil, err
	}
	if v.Decision, err = ParseDecision(e.Decision, signerKeys); err != nil {
		return nil, err
	}
	if v.Key, err = ParseKeyInfo(signer.leaf); err != nil {
		return nil, err
	}
	d := v.Decision
	if v.Display, err = Display(v.Request, d.DisplayVersion, d.Language, d.TimeZone); err != nil {
		return nil, err
	}
	return v, nil
}

// consistent checks that the parts are about one another.
func (v *Verified) consistent(e *Evidence) error {
	if err := v.Decision.Answers(e.Request, v.Request); err != nil {
		return err
	}
	if err := v.Key.MaySign(v.Decision); err != nil {
		return err
	}
	if err := v.Receipt.Acknowledges(e.Decision, v.Decision); err != nil {
		return err
	}
	want := StateDenied
	if v.Decision.Decision == Approve {
		want = StateApproved
	}
	if v.Receipt.State != want {
		return errorf(CodeMismatch, "the receipt says %s of a decision to %s", v.Receipt.State, v.Decision.Decision)
	}
	if v.Receipt.Attestation != e.Attestation {
		return errorf(CodeMismatch, "the attestation is not the receipt's")
	}
	if at := v.Receipt.IssuedAt; at < v.Request.IssuedAt || at > v.Request.ExpiresAt {
		return errorf(CodeMismatch, "the receipt is not from the request's lifetime")
	}
	return nil
}

// chain is a leaf with what leads to a root.
type chain struct {
	// whole is everything as given, the leaf first.
	whole        []*x509.Certificate
	leaf         *x509.Certificate
	intermediate *x509.CertPool
	roots        *x509.CertPool
}

func parseChain(certs []string, roots *x509.CertPool) (chain, error) {
	c := chain{intermediate: x509.NewCertPool(), roots: roots}
	for _, text := range certs {
		cert, err := parsePEM(text)
		if err != nil {
			return chain{}, err
		}
		c.whole = append(c.whole, cert)
	}
	if len(c.whole) == 0 {
		return chain{}, errorf(CodeBadCert, "there is no certificate")
	}
	c.leaf = c.whole[0]
	for _, cert := range c.whole[1:] {
		c.intermediate.AddCert(cert)
	}
	if c.roots == nil {
		c.roots = x509.NewCertPool()
		c.roots.AddCert(c.whole[len(c.whole)-1])
	}
	return c, nil
}

// parsePEM reads one certificate, written exactly as encoding/pem writes it:
// text around a block could pass for something that was verified.
func parsePEM(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || string(pem.EncodeToMemory(block)) != text {
		return nil, errorf(CodeBadCert, "a certificate is not one plain PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errorf(CodeBadCert, "a certificate is malformed")
	}
	return cert, nil
}

func (c chain) keys() (Keys, error) {
	if _, err := keyAlgorithm(c.leaf.PublicKey); err != nil {
		return nil, errorf(CodeBadCert, "the certificate's key is of no kind that signs")
	}
	return NewKeys(c.leaf.PublicKey)
}

func (c chain) verify(at time.Time, role Role) error {
	paths, err := c.leaf.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: c.intermediate, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return errorf(CodeBadCert, "the %s certificate does not lead to a trusted root at the time of the receipt", role)
	}
	// A certificate that is no part of the path would be there unverified.
	if !slices.ContainsFunc(paths, c.is) {
		return errorf(CodeBadCert, "the certificates are not the path from the %s leaf to its root", role)
	}
	info, err := ParseKeyInfo(c.leaf)
	if err != nil {
		return err
	}
	if info.Role != role || c.leaf.IsCA {
		return errorf(CodeBadCert, "the certificate is not for the %s role", role)
	}
	return checkRole(c.leaf.PublicKey, role)
}

func (c chain) is(path []*x509.Certificate) bool {
	return slices.EqualFunc(path, c.whole, (*x509.Certificate).Equal)
}

package protocol

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
)

// PathTrust is where anybody gets the server's trust document, below the device
// URL and the issuer.
const PathTrust = "/v1/trust"

// HeaderTrust is a header of the device API: in a call the sequence number of the
// statement that the device keeps, 0 or none where it keeps none, and in an answer
// that of the server's present one.
const HeaderTrust = "Countersign-Trust"

const typTrust = "trust-statement+jwt"

// Limits of a trust statement. A server changes one thing at a time; more than this
// is a mistake, or somebody who wants to fill a disk.
const (
	MaxTrustNames = 8
	MaxTrustRoots = 4
	maxRootSize   = 4096
	// MaxTrustDocument is the size in bytes over which a document is refused unread.
	MaxTrustDocument = MaxTrustNames * MaxMessage
)

// Trust is the server's word on its own names, addresses and keys, signed with a
// key that devices know already. It takes the place of what a device learned at its
// enrollment, so that a server moves, and its keys change, without anybody enrolling
// again.
//
// A statement has no end: what a device knows is good until it learns of something
// newer. Seq keeps old statements from coming back.
type Trust struct {
	// Issuer is the server's name. Former are the names that it had, under which
	// messages may still come.
	Issuer string   `json:"iss"`
	Former []string `json:"former,omitempty"`
	// IssuedAt is by the server's clock; nothing depends on it.
	IssuedAt int64 `json:"iat"`
	// Seq counts the statements of a server from 1.
	Seq int64 `json:"seq"`
	// DeviceURLs is where the device API is, in the order of trying.
	DeviceURLs []string `json:"device_urls"`
	// TLSRoots are the only roots to trust for it, DER; none are the system's. The
	// first is the one that the server shows to who does not say which it knows.
	TLSRoots []Blob `json:"tls_roots,omitempty"`
	// Keys are what the server's messages verify with from now on.
	Keys TrustKeys `json:"keys"`
}

// TrustKeys is a key set as RFC 7517 has it.
type TrustKeys struct {
	Keys []TrustKey `json:"keys"`
}

// TrustKey is a public key on P-256 for ES256.
type TrustKey struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg string `json:"alg"`
}

// NewTrustKeys encodes keys of the server.
func NewTrustKeys(keys Keys) (out TrustKeys, err error) {
	data, err := keys.JWKS()
	if err != nil {
		return out, err
	}
	if err := DecodeStrict(data, &out); err != nil {
		return out, err
	}
	return out, nil
}

// JWKS is the key set as RFC 7517 writes it.
func (k TrustKeys) JWKS() ([]byte, error) {
	data, err := json.Marshal(k)
	if err != nil {
		return nil, errorf(CodeUnknownKey, "the key set cannot be written")
	}
	return data, nil
}

// Parse returns the keys, as strictly as ParseJWKS does.
func (k TrustKeys) Parse() (Keys, error) {
	data, err := k.JWKS()
	if err != nil {
		return nil, err
	}
	return ParseJWKS(data)
}

// TrustDocument answers GET PathTrust: one statement, signed with each key that
// some device may know the server by. It is public, and needs no trust in whoever
// hands it over.
type TrustDocument struct {
	// Statements are compact JWS.
	Statements []string `json:"statements"`
}

// SignTrust validates t and signs it.
func SignTrust(key crypto.Signer, t *Trust) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	return sign(key, typTrust, t)
}

// ParseTrust verifies one statement with the keys that the reader knows.
func ParseTrust(compact string, keys Keys) (*Trust, error) {
	t := new(Trust)
	if err := verify(compact, typTrust, keys, t); err != nil {
		return nil, err
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return t, nil
}

// ParseTrustDocument returns the statement in a document that is signed with one of
// the keys that the reader knows. Those signed with others, or of another kind, are
// not looked at: they are for other readers.
func ParseTrustDocument(data []byte, keys Keys) (*Trust, error) {
	if len(data) > MaxTrustDocument {
		return nil, errorf(CodeTooLarge, "the trust document is over %d bytes", MaxTrustDocument)
	}
	if err := checkDocument(data, cleanText); err != nil {
		return nil, err
	}
	var doc TrustDocument
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&doc) != nil || len(doc.Statements) == 0 || len(doc.Statements) > MaxTrustNames {
		return nil, errorf(CodeBadMessage, "the trust document has an unknown member, or no statement, or too many")
	}
	for _, compact := range doc.Statements {
		if len(compact) > MaxMessage {
			return nil, errorf(CodeTooLarge, "the JWS is over %d bytes", MaxMessage)
		}
		h, err := parseHeader(compact)
		if err != nil {
			return nil, err
		}
		if _, known := keys[h.Kid]; known && h.Typ == typTrust {
			return ParseTrust(compact, keys)
		}
	}
	return nil, errorf(CodeUnknownKey, "no statement is signed with a key that is known here")
}

// Validate checks everything that needs no key and no history.
func (t *Trust) Validate() error {
	if t.Seq < 1 || t.Seq > maxSeq || !validTime(t.IssuedAt) {
		return errorf(CodeBadMessage, "the trust statement has no number or no time")
	}
	if err := checkNames("former", append([]string{t.Issuer}, t.Former...)); err != nil {
		return err
	}
	if err := checkNames("device_urls", t.DeviceURLs); err != nil {
		return err
	}
	if err := checkRoots(t.TLSRoots); err != nil {
		return err
	}
	if len(t.Keys.Keys) > MaxTrustNames {
		return errorf(CodeBadMessage, "keys are over %d", MaxTrustNames)
	}
	_, err := t.Keys.Parse()
	return err
}

// maxSeq leaves room for JSON readers that count in floating point.
const maxSeq = 1 << 53

// checkNames demands one to MaxTrustNames URLs of the protocol, each once.
func checkNames(member string, urls []string) error {
	if len(urls) == 0 || len(urls) > MaxTrustNames {
		return errorf(CodeBadMessage, "%s are none, or over %d", member, MaxTrustNames)
	}
	for i, u := range urls {
		if err := CheckText(member, u, maxValue); err != nil {
			return err
		}
		if !ValidIssuer(u) || slices.Contains(urls[:i], u) {
			return errorf(CodeBadMessage, "%s holds what is no https URL, or one twice", member)
		}
	}
	return nil
}

func checkRoots(roots []Blob) error {
	if len(roots) > MaxTrustRoots {
		return errorf(CodeBadCert, "tls_roots are over %d", MaxTrustRoots)
	}
	for i, der := range roots {
		if slices.ContainsFunc(roots[:i], func(b Blob) bool { return bytes.Equal(b, der) }) {
			return errorf(CodeBadCert, "tls_roots holds a certificate twice")
		}
		if err := checkRoot(der); err != nil {
			return err
		}
	}
	return nil
}

// checkRoot demands a certificate that signs certificates, itself first.
func checkRoot(der []byte) error {
	if len(der) > maxRootSize {
		return errorf(CodeBadCert, "a TLS root is over %d bytes", maxRootSize)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return errorf(CodeBadCert, "a TLS root is malformed")
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.CheckSignatureFrom(cert) != nil {
		return errorf(CodeBadCert, "a TLS root is not a self-signed CA certificate")
	}
	return nil
}

// Certificates are the TLS roots, parsed. The caller has validated t.
func (t *Trust) Certificates() ([]*x509.Certificate, error) {
	out := make([]*x509.Certificate, len(t.TLSRoots))
	for i, der := range t.TLSRoots {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errorf(CodeBadCert, "a TLS root is malformed")
		}
		out[i] = cert
	}
	return out, nil
}

// Names are the server's names, the present one first.
func (t *Trust) Names() []string { return append([]string{t.Issuer}, t.Former...) }

// Follows checks that t may take the place of what a device knows: of the server
// by a name that it knows it by, and newer than the statement with the number seq.
func (t *Trust) Follows(issuer string, seq int64) error {
	if !slices.Contains(t.Names(), issuer) {
		return errorf(CodeMismatch, "the trust statement is another server's")
	}
	if t.Seq <= seq {
		return errorf(CodeMismatch, "the trust statement is not newer than the one that is known")
	}
	return nil
}

// rootProtocol begins the TLS protocol names (RFC 7301) by which a device says in
// its first message which roots it trusts.
const rootProtocol = "countersign-root:"

// RootProtocol is the TLS protocol name that says that a client trusts the root of
// this SPKI hash. No connection ever speaks such a protocol: the server reads the
// names to choose a certificate that the client can verify, and nothing depends on
// their being true.
func RootProtocol(spki []byte) string {
	return rootProtocol + base64.RawURLEncoding.EncodeToString(spki)
}

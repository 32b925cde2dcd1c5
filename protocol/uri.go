package protocol

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"

	"countersign/internal/secret"
)

// EnrollURI is what an enrollment link says.
type EnrollURI struct {
	// Server is the device URL, https.
	Server string
	// Token is the one-time secret.
	Token secret.Value
	// CA, where not empty, is the SHA-256 of the subject public key info of
	// the only TLS root to trust; where empty, the system's roots are.
	CA []byte
}

const enrollPrefix = "countersign:enroll?"

// String is the link, with its secret: it goes to the person who enrolls and
// nowhere else.
func (u EnrollURI) String() string {
	q := "server=" + url.QueryEscape(u.Server) + "&token=" + url.QueryEscape(string(u.Token.Reveal()))
	if len(u.CA) > 0 {
		q += "&ca=" + Pin(u.CA)
	}
	return enrollPrefix + q
}

// ParseEnrollURI reads a link. Its errors never repeat the link.
func ParseEnrollURI(s string) (EnrollURI, error) {
	bad := func(why string) (EnrollURI, error) {
		return EnrollURI{}, errorf(CodeBadMessage, "not an enrollment link: %s", why)
	}
	if len(s) > 4096 {
		return bad("too long")
	}
	query, ok := strings.CutPrefix(s, enrollPrefix)
	if !ok {
		return bad("it does not begin with " + enrollPrefix)
	}
	q, why := strictQuery(query, "server", "token", "ca")
	if why != nil {
		return bad(why.Detail)
	}
	u := EnrollURI{Server: strings.TrimSuffix(q.Get("server"), "/"), Token: secret.New([]byte(q.Get("token")))}
	if !ValidIssuer(u.Server) || len(u.Server) > maxValue {
		return bad("server is not an https URL")
	}
	if u.Token.Empty() || CheckText("token", q.Get("token"), maxID) != nil {
		return bad("the token is missing")
	}
	if !q.Has("ca") {
		return u, nil
	}
	var err error
	if u.CA, err = ParsePin(q.Get("ca")); err != nil {
		return bad("ca is not sha256: and a base64url SHA-256")
	}
	return u, nil
}

// SPKI is the SHA-256 of a certificate's subject public key info.
func SPKI(cert *x509.Certificate) []byte {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return sum[:]
}

// Pin writes an SPKI hash as links and readiness lines show it.
func Pin(spki []byte) string {
	return "sha256:" + base64.RawURLEncoding.EncodeToString(spki)
}

// ParsePin reads what Pin writes.
func ParsePin(s string) ([]byte, error) {
	b64, ok := strings.CutPrefix(s, "sha256:")
	if !ok || !isHash(b64) {
		return nil, errorf(CodeBadMessage, "not a pin")
	}
	return base64.RawURLEncoding.DecodeString(b64)
}

// ConfirmationCode is the 6-digit code that device and issuing page both make
// of the two keys of an enrollment: who stole the token has other keys, and so
// another code.
func ConfirmationCode(device, approval crypto.PublicKey) (string, error) {
	d, err := Thumbprint(device)
	if err != nil {
		return "", err
	}
	a, err := Thumbprint(approval)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte("countersign confirmation\n" + d + "\n" + a))
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(sum[:8])%1_000_000), nil
}

// Package attesttest makes what the factory and the firmware of a token make:
// certificates of the token and of its slots, whose keys here are ordinary
// ones. A verifier cannot tell, which is why it must look at nothing else than
// the certificates. It is never linked into a shipped command.
package attesttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"countersign/protocol"
)

// Change spoils a certificate before it is signed; nil changes nothing.
type Change func(*x509.Certificate)

// CA is a certificate with its key.
type CA struct {
	*x509.Certificate
	Key *ecdsa.PrivateKey
}

// Key makes a key on P-256.
func Key(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Root makes a CA certificate that signs itself.
func Root(tb testing.TB, name string, change Change) *CA {
	tb.Helper()
	return (*CA)(nil).CA(tb, name, change)
}

// CA makes a CA below another one.
func (ca *CA) CA(tb testing.TB, name string, change Change) *CA {
	tb.Helper()
	key := Key(tb)
	t := template(name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	below := &CA{Key: key}
	signer := ca
	if ca == nil {
		below.Certificate, signer = t, below
	}
	der := signer.Issue(tb, t, key.Public(), change)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	below.Certificate = cert
	return below
}

// Issue signs a certificate.
func (ca *CA) Issue(tb testing.TB, t *x509.Certificate, public crypto.PublicKey, change Change) []byte {
	tb.Helper()
	if change != nil {
		change(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Certificate, public, ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// PEM is the certificate as a file holds it.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// Token is a token: the certificate of its attestation key, and what is said
// of it in those of slots.
type Token struct {
	*CA
	Serial   any
	Firmware []byte
	Form     []byte
}

// NewToken makes a token below a CA, by its looks as of firmware 5.4.3.
func NewToken(tb testing.TB, ca *CA, change Change) *Token {
	tb.Helper()
	own := ca.CA(tb, "Yubico PIV Attestation", func(c *x509.Certificate) {
		c.KeyUsage, c.MaxPathLenZero = 0, true
		c.ExtraExtensions = []pkix.Extension{Extension(3, []byte{5, 4, 3})}
		if change != nil {
			change(c)
		}
	})
	return &Token{CA: own, Serial: 15732736, Firmware: []byte{5, 4, 3}, Form: []byte{1}}
}

// Extension is one of Yubico's.
func Extension(arc int, value []byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}, Value: value}
}

// Slot makes the certificate of a slot with these policies.
func (t *Token) Slot(tb testing.TB, public crypto.PublicKey, pin, touch byte, change Change) protocol.Blob {
	tb.Helper()
	serial, err := asn1.Marshal(t.Serial)
	if err != nil {
		tb.Fatal(err)
	}
	c := template("YubiKey PIV Attestation 82")
	c.ExtraExtensions = []pkix.Extension{Extension(3, t.Firmware), Extension(7, serial), Extension(8, []byte{pin, touch}), Extension(9, t.Form)}
	return t.Issue(tb, c, public, change)
}

// Sign is what a slot's key makes of the server's challenge.
func Sign(tb testing.TB, key crypto.Signer, challenge []byte) protocol.Blob {
	tb.Helper()
	digest := sha256.Sum256(protocol.PIVChallenge(challenge))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

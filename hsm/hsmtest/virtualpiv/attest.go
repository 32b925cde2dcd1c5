package virtualpiv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// formFactor is that of a USB-A key on a key ring.
const formFactor = 0x01

// CA is a vendor of virtual cards. Who trusts its root trusts what the cards
// say about their keys.
type CA struct {
	root *x509.Certificate
	key  crypto.Signer
}

// identity is a card's attestation key with the vendor's certificate for it.
type identity struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewCA makes a vendor that nobody has heard of.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	key := newP256(tb)
	template := caTemplate(tb, "Virtual PIV Root CA", key.Public())
	return &CA{root: issue(tb, template, template, key.Public(), key), key: key}
}

// Root is the certificate at the top of what the vendor's cards attest.
func (ca *CA) Root() *x509.Certificate { return ca.root }

// Root is the root certificate of the card's vendor.
func (c *Card) Root() *x509.Certificate { return c.ca.root }

// issueIdentity makes the attestation key that a card leaves the factory with.
func (ca *CA) issueIdentity(tb testing.TB, c *Card) identity {
	tb.Helper()
	key := newP256(tb)
	template := caTemplate(tb, "Yubico PIV Attestation", key.Public())
	template.MaxPathLenZero = true
	template.ExtraExtensions = []pkix.Extension{{Id: yubicoOID(3), Value: c.firmware[:]}}
	return identity{issue(tb, template, ca.root, key.Public(), ca.key), key}
}

func newP256(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func issue(tb testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// validity is that of Yubico's certificates.
func validity() (from, to time.Time) {
	return time.Date(2016, 3, 14, 0, 0, 0, 0, time.UTC), time.Date(2052, 4, 17, 0, 0, 0, 0, time.UTC)
}

func caTemplate(tb testing.TB, name string, pub crypto.PublicKey) *x509.Certificate {
	tb.Helper()
	number, err := serialNumber(name, pub)
	if err != nil {
		tb.Fatal(err)
	}
	from, to := validity()
	return &x509.Certificate{
		SerialNumber:          number,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             from,
		NotAfter:              to,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// serialNumber is the same for the same key under the same name.
func serialNumber(name string, pub crypto.PublicKey) (*big.Int, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	sum := sha256.Sum256(append([]byte(name), der...))
	return new(big.Int).SetBytes(sum[:15]), err
}

// yubicoOID is an identifier of what attestation certificates say.
func yubicoOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, n}
}

// attest is Yubico's ATTEST: a certificate that says how a key was made and
// what it asks for. Of a key from elsewhere the card says nothing.
func (c *Card) attest(cmd command) ([]byte, status) {
	slot := Slot(cmd.p1)
	k := c.keys[slot]
	if cmd.p2 != 0 || k == nil || k.origin != originGenerated {
		return nil, swWrongData
	}
	template, err := c.attestation(slot, k)
	if err != nil {
		return nil, swConditions
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.identity.certificate, k.private.Public(), c.identity.key)
	if err != nil {
		return nil, swConditions
	}
	return der, swOK
}

func (c *Card) attestation(slot Slot, k *key) (*x509.Certificate, error) {
	serial, err := asn1.Marshal(int64(c.serial))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("YubiKey PIV Attestation %02x", byte(slot))
	number, err := serialNumber(name, k.private.Public())
	if err != nil {
		return nil, err
	}
	from, to := validity()
	return &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    from,
		NotAfter:     to,
		ExtraExtensions: []pkix.Extension{
			{Id: yubicoOID(3), Value: c.firmware[:]},
			{Id: yubicoOID(7), Value: serial},
			{Id: yubicoOID(8), Value: []byte{k.pinPolicy, k.touchPolicy}},
			{Id: yubicoOID(9), Value: []byte{formFactor}},
		},
	}, nil
}

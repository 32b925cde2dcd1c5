//go:build cgo

package piv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// A marker is a certificate that says in words what a slot is for, until the
// issued one takes its place. It is signed by a key that is thrown away and is
// never valid, so it proves nothing to anybody; to us it says that the slot is
// ours, and under which reservation.
const (
	markerReserved = "Countersign key, not certified yet"
	// markerDeleted stays where a token cannot delete keys: the slot holds a
	// key that nobody uses and may be filled again.
	markerDeleted = "Countersign key, deleted"
)

// newMarker makes the certificate for a slot's key. A nil key stands for the
// one that is not generated yet.
func newMarker(words, nonce string, public *ecdsa.PublicKey) (*x509.Certificate, error) {
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if public == nil {
		public = &issuer.PublicKey
	}
	never := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: words, SerialNumber: nonce},
		NotBefore:    never, NotAfter: never,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, issuer)
	if err != nil {
		return nil, fmt.Errorf("make a placeholder certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// isMarker reports whether a slot's certificate is the one that Create wrote
// under a reservation.
func isMarker(c *x509.Certificate, nonce string) bool {
	return c != nil && c.Subject.CommonName == markerReserved && c.Subject.SerialNumber == nonce
}

// isVacant reports whether a slot's certificate says that its key is deleted,
// and speaks of the key that is there.
func isVacant(c *x509.Certificate, key *ecdsa.PublicKey) bool {
	return c != nil && c.Subject.CommonName == markerDeleted && key != nil && key.Equal(c.PublicKey)
}

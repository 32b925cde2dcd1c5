package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"countersign/protocol"
)

// SignerFor is the key that signs requests to a device that keeps the statement
// with the number seq: the newest one that it knows.
func (a *Authority) SignerFor(seq int64) crypto.Signer {
	r := a.ring()
	if n := r.book.NextIssuerKey; n != nil && seq >= n.Since {
		return r.nextIssuer.key
	}
	return r.issuer.key
}

// Signer is the key with this thumbprint, so that what answers a message is signed
// as the message was; false where it is retired.
func (a *Authority) Signer(kid string) (crypto.Signer, bool) {
	r := a.ring()
	for _, id := range []*identity{r.issuer, r.nextIssuer} {
		if id != nil && keyID(id) == kid {
			return id.key, true
		}
	}
	return nil, false
}

// IssuerKeys are the public keys that the server's messages verify with.
func (a *Authority) IssuerKeys() (protocol.Keys, error) { return a.ring().issuerKeys() }

func (r *ring) issuerKeys() (protocol.Keys, error) {
	pubs := []crypto.PublicKey{r.issuer.key.Public()}
	if r.nextIssuer != nil {
		pubs = append(pubs, r.nextIssuer.key.Public())
	}
	return protocol.NewKeys(pubs...)
}

// AllIssuerKeys are those and the ones of the past, which signed what is stored.
func (a *Authority) AllIssuerKeys() (protocol.Keys, error) {
	r := a.ring()
	keys, err := r.issuerKeys()
	if err != nil {
		return nil, err
	}
	for _, chain := range r.book.IssuerChains {
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		kid, err := protocol.Thumbprint(leaf.PublicKey)
		if err != nil {
			return nil, err
		}
		keys[kid] = leaf.PublicKey
	}
	return keys, nil
}

// IssuerChain is the chain of the issuer's key with this thumbprint that was good
// at a time, the newest one, PEM, leaf first, root last.
func (a *Authority) IssuerChain(kid string, at time.Time) ([]string, error) {
	r := a.ring()
	var found [][]byte
	for _, chain := range r.issuerChains() {
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		if id, err := protocol.Thumbprint(leaf.PublicKey); err == nil && id == kid && (found == nil || !leaf.NotBefore.After(at)) {
			found = chain
		}
	}
	if found == nil {
		return nil, fmt.Errorf("pki: no certificate of the issuer's key %s", kid)
	}
	return PEM(found), nil
}

// issuerChains are all chains, oldest first.
func (r *ring) issuerChains() [][][]byte {
	if len(r.book.IssuerChains) > 0 {
		return r.book.IssuerChains
	}
	return [][][]byte{chainOf(r.issuer, r.tlsRoot)}
}

func chainOf(id, root *identity) [][]byte { return [][]byte{id.cert.Raw, root.cert.Raw} }

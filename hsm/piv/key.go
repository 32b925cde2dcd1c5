//go:build cgo

package piv

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"countersign/hsm"
)

// key is a key of a Provider.
type key struct {
	provider *Provider
	*reference
	encoded []byte
}

var (
	_ hsm.Inspector         = (*key)(nil)
	_ hsm.CertificateKeeper = (*key)(nil)
)

// Public implements hsm.Key.
func (k *key) Public() crypto.PublicKey { return k.public }

// Protection implements hsm.Key.
func (k *key) Protection() hsm.Protection {
	p := hsm.Protection{Touch: k.touch == touchAlways}
	if k.bound() {
		p.Counter = hsm.CounterToken
	}
	return p
}

// Reference implements hsm.Key.
func (k *key) Reference() []byte { return bytes.Clone(k.encoded) }

// Inspect implements hsm.Inspector. The tries are the token's, which all its
// keys share; a locked PIN stays so until the PUK unblocks it.
func (k *key) Inspect(ctx context.Context) (hsm.Health, error) {
	health := hsm.Health{Place: k.place(), TriesLeft: -1}
	err := k.provider.link.do(ctx, func(v *visit) error {
		return v.withSharedToken(k.serial, leaveCard, func(a *applet) (err error) {
			if err = a.check(k.reference); err == nil && k.bound() {
				health.TriesLeft, err = a.triesLeft()
			}
			return err
		})
	})
	if err != nil {
		return hsm.Health{Place: k.place(), TriesLeft: -1}, fmt.Errorf("piv: look at a key: %w", err)
	}
	return health, nil
}

// StoreCertificate implements hsm.CertificateKeeper. OpenSC and other PKCS #11
// modules show a key only together with its certificate.
func (k *key) StoreCertificate(ctx context.Context, der []byte, auth hsm.Auth) error {
	c, err := x509.ParseCertificate(der)
	if err == nil && !k.public.Equal(c.PublicKey) {
		err = errors.New("it is for another key")
	}
	if err == nil {
		err = checkAuth(auth)
	}
	if err == nil {
		own, wipe := ownAuth(auth)
		err = k.provider.link.do(ctx, func(v *visit) error {
			v.last = wipe
			return v.withToken(k.serial, func(t *token) error { return t.storeCertificate(k.reference, c, own) })
		})
	}
	if err != nil {
		return fmt.Errorf("piv: store a certificate: %w", err)
	}
	return nil
}

func (t *token) storeCertificate(r *reference, c *x509.Certificate, auth hsm.Auth) error {
	slot, err := t.check(r)
	if err != nil {
		return err
	}
	admin, err := t.managementKey(auth)
	if err != nil {
		return err
	}
	defer clear(admin)
	t.proved = true
	return changeError(t.SetCertificate(admin, slot, c))
}

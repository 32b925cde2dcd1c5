package agent

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"countersign/hsm"
)

// lazyKey is a hardware key whose certificate is known and that is opened in
// the chip when first used: the service starts without the chip, too.
type lazyKey struct {
	provider  hsm.Provider
	reference []byte
	public    crypto.PublicKey

	mu  sync.Mutex
	key hsm.Key
}

func newLazyKey(provider hsm.Provider, reference []byte, chain [][]byte) (*lazyKey, error) {
	if len(chain) == 0 {
		return nil, errors.New("agent: a key without a certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return &lazyKey{provider: provider, reference: reference, public: leaf.PublicKey}, nil
}

// Public implements hsm.Key.
func (k *lazyKey) Public() crypto.PublicKey { return k.public }

// Protection implements hsm.Key. It is not known before the key was opened.
func (k *lazyKey) Protection() hsm.Protection {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key == nil {
		return hsm.Protection{}
	}
	return k.key.Protection()
}

// Reference implements hsm.Key.
func (k *lazyKey) Reference() []byte { return k.reference }

// Sign implements hsm.Key.
func (k *lazyKey) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	key, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	return key.Sign(ctx, digest, auth)
}

// Delete implements hsm.Key.
func (k *lazyKey) Delete(ctx context.Context, auth hsm.Auth) error {
	key, err := k.open(ctx)
	if err != nil {
		return err
	}
	return key.Delete(ctx, auth)
}

// open does not hold the lock while the chip works: two first uses at once
// open the key twice, and either will do.
func (k *lazyKey) open(ctx context.Context) (hsm.Key, error) {
	k.mu.Lock()
	key := k.key
	k.mu.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := k.provider.Open(ctx, k.reference)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = key
	return key, nil
}

package agent

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"countersign/agent/state"
	"countersign/hsm"
)

// lazyKey is a hardware key whose certificate is known and that is opened in
// the chip when first used: the service starts without the chip, too.
type lazyKey struct {
	provider  hsm.Provider
	facts     state.KeyFacts
	reference []byte
	public    crypto.PublicKey

	mu  sync.Mutex
	key hsm.Key
}

func newLazyKey(provider hsm.Provider, facts state.KeyFacts, reference []byte, chain [][]byte) (*lazyKey, error) {
	if len(chain) == 0 {
		return nil, errors.New("agent: a key without a certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return &lazyKey{provider: provider, facts: facts, reference: reference, public: leaf.PublicKey}, nil
}

// Public implements hsm.Key.
func (k *lazyKey) Public() crypto.PublicKey { return k.public }

// Protection implements hsm.Key. It is what it was at enrollment, so that it
// is known while the chip is absent.
func (k *lazyKey) Protection() hsm.Protection { return k.facts.Protection() }

// Reference implements hsm.Key.
func (k *lazyKey) Reference() []byte { return k.reference }

// Sign implements hsm.Key.
func (k *lazyKey) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	key, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	signature, err := key.Sign(ctx, digest, auth)
	return signature, onChip(k.provider.Name(), err)
}

// Delete implements hsm.Key. A key that is not in this chip is deleted.
func (k *lazyKey) Delete(ctx context.Context, auth hsm.Auth) error {
	return deleteKey(ctx, k.provider, k.reference, auth)
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
	return k.probe(ctx)
}

// probe opens the key whether it was opened before or not: the chip may have
// been cleared meanwhile.
func (k *lazyKey) probe(ctx context.Context) (hsm.Key, error) {
	key, err := k.provider.Open(ctx, k.reference)
	if err != nil {
		return nil, onChip(k.provider.Name(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = key
	return key, nil
}

// deleteKey removes the key of a reference. One of another chip, or of this
// one before it was cleared, is gone already.
func deleteKey(ctx context.Context, p hsm.Provider, reference []byte, auth hsm.Auth) error {
	key, err := p.Open(ctx, reference)
	if errors.Is(err, hsm.ErrForeignKey) || errors.Is(err, hsm.ErrBadReference) {
		return nil
	}
	if err == nil {
		err = key.Delete(ctx, auth)
	}
	return onChip(p.Name(), err)
}

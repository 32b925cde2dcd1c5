package tpm

import (
	"context"
	"crypto"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// key is a key of a Provider.
type key struct {
	provider *Provider
	*reference
	encoded []byte
}

var (
	_ hsm.Key       = (*key)(nil)
	_ hsm.Inspector = (*key)(nil)
)

// Release implements hsm.Provider: what outlives a crash is the PIN index.
func (p *Provider) Release(ctx context.Context, reservation []byte) error {
	public, err := tpm2.Unmarshal[tpm2.TPMSNVPublic](reservation)
	if err != nil {
		return fmt.Errorf("tpm: release: %w: %w", hsm.ErrBadReference, err)
	}
	err = p.link.do(ctx, func(c *chip) error { return c.undefine(&pinIndex{public: *public}) })
	if err != nil {
		return fmt.Errorf("tpm: release: %w", err)
	}
	return nil
}

// Open implements hsm.Provider. It asks the chip, so that a foreign or
// orphaned key shows before anybody is asked for a PIN.
func (p *Provider) Open(ctx context.Context, encoded []byte) (hsm.Key, error) {
	ref, err := decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("tpm: open a key: %w", err)
	}
	err = p.link.ask(ctx, func(c *chip) error { return c.find(ref) })
	if err != nil {
		return nil, fmt.Errorf("tpm: open a key: %w", err)
	}
	return &key{p, ref, append([]byte(nil), encoded...)}, nil
}

// Public implements hsm.Key.
func (k *key) Public() crypto.PublicKey { return k.verifier }

// Protection implements hsm.Key.
func (k *key) Protection() hsm.Protection { return hsm.Protection{Counter: k.counter()} }

// Reference implements hsm.Key.
func (k *key) Reference() []byte { return append([]byte(nil), k.encoded...) }

// find makes sure that the key and what guards it are in this chip.
func (c *chip) find(ref *reference) error {
	if _, err := c.load(ref); err != nil {
		return err
	}
	if ref.index == nil {
		return nil
	}
	return c.mustBePresent(ref.index)
}

// Delete implements hsm.Key. Only a PIN index is left in the chip; its removal
// takes the owner password, where there is one.
func (k *key) Delete(ctx context.Context, _ hsm.Auth) error {
	if k.index == nil {
		return nil
	}
	err := k.provider.link.do(ctx, func(c *chip) error { return c.undefine(k.index) })
	if err != nil {
		return fmt.Errorf("tpm: delete a key: %w", err)
	}
	return nil
}

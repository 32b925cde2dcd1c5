package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

var _ hsm.Identifier = (*Provider)(nil)

// Identify implements hsm.Identifier: SHA-256 of the public endorsement key,
// which is the chip's own from the factory on and survives TPM2_Clear.
func (p *Provider) Identify(ctx context.Context) (string, error) {
	var id string
	err := p.link.do(ctx, func(c *chip) error {
		c.putAway()
		public, err := c.endorsementPublic()
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(der)
		id = hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("tpm: identify: %w", err)
	}
	return id, nil
}

// endorsementPublic finds the endorsement key at the least cost: where its maker
// put its certificate or the key itself, else by deriving it.
func (c *chip) endorsementPublic() (crypto.PublicKey, error) {
	kinds := endorsementKinds()
	for _, kind := range kinds {
		content, err := c.readIndex(kind.certificate)
		if err != nil {
			return nil, err
		}
		if leaf := firstCertificate(content); leaf != nil {
			return leaf.PublicKey, nil
		}
	}
	for _, kind := range kinds {
		public, err := c.persistentEndorsementKey(kind)
		if err != nil || public != nil {
			return public, err
		}
	}
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(kinds[0].template),
	}.Execute(c)
	if err != nil {
		return nil, fmt.Errorf("derive the endorsement key: %w", endorsementError(err))
	}
	c.flush(made.ObjectHandle)
	return keyOf(made.OutPublic)
}

// persistentEndorsementKey returns nil where another kind of key is there, or
// none.
func (c *chip) persistentEndorsementKey(kind endorsementKind) (crypto.PublicKey, error) {
	there, err := tpm2.ReadPublic{ObjectHandle: kind.persistent}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the endorsement key: %w", err)
	}
	public, err := keyOf(there.OutPublic)
	if err != nil || !isEndorsementKey(there.OutPublic, kind, public) {
		return nil, nil //nolint:nilerr // somebody else's
	}
	return public, nil
}

func keyOf(public tpm2.TPM2BPublic) (crypto.PublicKey, error) {
	area, err := public.Contents()
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	return tpm2.Pub(*area)
}

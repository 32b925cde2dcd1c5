package tpm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

var _ hsm.Attester = (*Provider)(nil)

// Claim implements hsm.Attester. It names the chip by the certificate that its
// maker put into it, and derives an attestation key for this claim alone, so
// that no two servers can tell by it that they speak to one chip. Nothing stays
// in the chip.
func (p *Provider) Claim(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
	if _, err := p.attestable(keys); err != nil {
		return hsm.Claim{}, fmt.Errorf("tpm: claim: %w", err)
	}
	var claim hsm.Claim
	err := p.link.do(ctx, func(c *chip) error {
		e, err := c.endorsed()
		if err != nil {
			return err
		}
		claim, err = c.claim(hsm.Endorsement{Chain: e.chain})
		return err
	})
	if err != nil {
		return hsm.Claim{}, fmt.Errorf("tpm: claim: %w", err)
	}
	return claim, nil
}

// claim derives an attestation key beside an endorsement.
func (c *chip) claim(by hsm.Endorsement) (hsm.Claim, error) {
	claim := hsm.Claim{Format: hsm.FormatTPM2, Resume: make([]byte, akSeedSize), EK: by.Key, Endorsement: by.Chain}
	_, _ = rand.Read(claim.Resume)
	ak, err := c.attestationKey(claim.Resume)
	if err != nil {
		return hsm.Claim{}, err
	}
	c.flush(ak.Handle)
	claim.AK = ak.area
	return claim, nil
}

// attestable returns the references of keys that can be attested.
func (p *Provider) attestable(keys []hsm.Key) ([]*reference, error) {
	if len(keys) == 0 {
		return nil, errors.New("no keys")
	}
	refs := make([]*reference, len(keys))
	for i, k := range keys {
		own, ok := k.(*key)
		switch {
		case !ok || own.provider != p:
			return nil, fmt.Errorf("%w: it is not of this TPM", hsm.ErrForeignKey)
		case len(own.creation) == 0:
			return nil, fmt.Errorf("%w: the key was made before its creation was recorded", hsm.ErrNoAttestation)
		}
		refs[i] = own.reference
	}
	return refs, nil
}

// akSeedSize is the size of what tells one attestation key from another.
const akSeedSize = 32

// attestationKey is an attestation key in the chip.
type attestationKey struct {
	tpm2.NamedHandle
	area []byte // TPMT_PUBLIC
}

// auth authorizes its use; its auth value is empty.
func (k attestationKey) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.Handle, Name: k.Name, Auth: tpm2.PasswordAuth(nil)}
}

// attestationKey derives the attestation key of a seed; the caller flushes it.
//
// It is a primary key of the endorsement hierarchy for two reasons: a verifier
// can compute its Qualified Name, and the chip tells its firmware's version in
// the clear to keys of that hierarchy (Part 1, 36.7). A primary key is derived
// from its template, so the same seed makes the same key again, after a crash
// too, and nobody has to keep a blob.
func (c *chip) attestationKey(seed []byte) (attestationKey, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(attestationArea(seed)),
	}.Execute(c)
	if err != nil {
		return attestationKey{}, fmt.Errorf("derive an attestation key: %w", endorsementError(err))
	}
	area, err := rsp.OutPublic.Contents()
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return attestationKey{}, fmt.Errorf("attestation key: %w", err)
	}
	return attestationKey{tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, tpm2.Marshal(*area)}, nil
}

// attestationArea is the public area of a restricted P-256 key: it signs what
// the chip itself says and nothing else.
func attestationArea(seed []byte) tpm2.TPMTPublic {
	area := signingKey(hsm.ES256, nil)
	area.ObjectAttributes.Restricted = true
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: seed}})
	return area
}

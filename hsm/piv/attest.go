//go:build cgo

package piv

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"countersign/hsm"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// Claim implements hsm.Attester. Each chain is the slot's attestation, which
// names the token's serial number, firmware and the key's policies, and the
// certificate of the token's attestation key.
func (p *Provider) Claim(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
	refs, err := p.own(keys)
	if err != nil {
		return hsm.Claim{}, fmt.Errorf("piv: attest: %w", err)
	}
	claim := hsm.Claim{Format: hsm.FormatPIV}
	for _, r := range refs {
		var chain [][]byte
		err := p.link.do(ctx, func(v *visit) error {
			return v.withToken(r.serial, func(t *token) (err error) {
				chain, err = t.attest(r)
				return err
			})
		})
		if err != nil {
			return hsm.Claim{}, fmt.Errorf("piv: attest: %w", err)
		}
		claim.Chains = append(claim.Chains, chain)
	}
	return claim, nil
}

// nonceOfServer is the size of what a server has signed.
const nonceOfServer = 32

// Prove implements hsm.Attester: each key signs the server's nonce, so that the
// chain of a token that is somewhere else is of no use.
func (p *Provider) Prove(ctx context.Context, _ hsm.Claim, c hsm.Challenge, keys []hsm.Key, auth hsm.Auth) (hsm.Proof, error) {
	_, err := p.own(keys)
	if err == nil && len(c.Nonce) != nonceOfServer {
		err = fmt.Errorf("a nonce of %d bytes, want %d", len(c.Nonce), nonceOfServer)
	}
	if err != nil {
		return hsm.Proof{}, fmt.Errorf("piv: prove: %w", err)
	}
	digest := sha256.Sum256(hsm.PIVChallenge(c.Nonce))
	var proof hsm.Proof
	for _, k := range keys {
		signature, err := k.Sign(ctx, digest[:], auth)
		if err != nil {
			return hsm.Proof{}, fmt.Errorf("piv: prove: %w", err)
		}
		proof.Keys = append(proof.Keys, hsm.KeyProof{Signature: signature})
	}
	return proof, nil
}

// own returns the references of keys of this Provider.
func (p *Provider) own(keys []hsm.Key) ([]*reference, error) {
	if len(keys) == 0 {
		return nil, errors.New("there is no key to speak of")
	}
	var refs []*reference
	for _, k := range keys {
		var inner *key
		switch k := k.(type) {
		case *key:
			inner = k
		case *boundKey:
			inner = k.key
		}
		if inner == nil || inner.provider != p {
			return nil, fmt.Errorf("%w: it was not made here", hsm.ErrForeignKey)
		}
		refs = append(refs, inner.reference)
	}
	return refs, nil
}

func (t *token) attest(r *reference) ([][]byte, error) {
	slot, err := t.check(r)
	if err != nil {
		return nil, err
	}
	leaf, err := t.Attest(slot)
	if err != nil {
		return nil, attestError(err)
	}
	if !r.public.Equal(leaf.PublicKey) {
		return nil, errors.New("the token attests another key")
	}
	issuer, err := t.AttestationCertificate()
	if err != nil {
		return nil, attestError(err)
	}
	return [][]byte{leaf.Raw, issuer.Raw}, nil
}

// attestError tells a token that cannot attest from one that does not answer.
// What is no certificate proves nothing either.
func attestError(err error) error {
	unreadable := statusOf(err) == 0 && pcscCode(err) == 0
	if errors.Is(err, yubico.ErrNotFound) || unreadable {
		return fmt.Errorf("%w: %w", hsm.ErrNoAttestation, err)
	}
	return err
}

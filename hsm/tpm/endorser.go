package tpm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

var _ hsm.Endorser = (*Provider)(nil)

// Endorsements implements hsm.Endorser. Nothing stays in the chip. Where the maker
// has certified a key it comes first; the other kind is derived, which a slow chip
// takes its time for. One that the chip does not know is left out.
func (p *Provider) Endorsements(ctx context.Context) ([]hsm.Endorsement, error) {
	var certified, bare []hsm.Endorsement
	err := p.link.do(ctx, func(c *chip) error {
		certified, bare = nil, nil // it may be the second time
		c.putAway()
		for _, kind := range endorsementKinds() {
			e, err := c.endorsementOf(kind)
			switch {
			case errors.Is(err, tpm2.TPMRCValue) || errors.Is(err, tpm2.TPMRCKeySize) || errors.Is(err, tpm2.TPMRCCurve):
			case err != nil:
				return err
			case len(e.Chain) > 0:
				certified = append(certified, e)
			default:
				bare = append(bare, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tpm: endorsement keys: %w", err)
	}
	return append(certified, bare...), nil
}

// endorsementOf finds or derives the endorsement key of a kind, and its
// certificate where there is one of this very key.
func (c *chip) endorsementOf(kind endorsementKind) (hsm.Endorsement, error) {
	public, err := c.publicEndorsementKey(kind)
	if err != nil {
		return hsm.Endorsement{}, err
	}
	key, err := tpm2.Pub(public)
	if err != nil {
		return hsm.Endorsement{}, err
	}
	var e hsm.Endorsement
	if e.Key, err = x509.MarshalPKIXPublicKey(key); err != nil {
		return e, err
	}
	content, err := c.readIndex(kind.certificate)
	if err != nil {
		return e, err
	}
	leaf := firstCertificate(content)
	if leaf == nil || string(leaf.RawSubjectPublicKeyInfo) != string(e.Key) {
		return e, nil
	}
	e.Chain, err = c.chainOf(leaf)
	return e, err
}

// publicEndorsementKey is the public area of the endorsement key of a kind: that
// which the maker keeps in the chip, if it is of the profile's template, or else
// the one that the template derives.
func (c *chip) publicEndorsementKey(kind endorsementKind) (tpm2.TPMTPublic, error) {
	if there, err := (tpm2.ReadPublic{ObjectHandle: kind.persistent}).Execute(c); err == nil {
		area, err := there.OutPublic.Contents()
		if err == nil {
			if key, err := tpm2.Pub(*area); err == nil && isEndorsementKey(there.OutPublic, kind, key) {
				return *area, nil
			}
		}
	} else if !errors.Is(err, tpm2.TPMRCHandle) {
		return tpm2.TPMTPublic{}, fmt.Errorf("look for the endorsement key: %w", err)
	}
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(kind.template),
	}.Execute(c)
	if err != nil {
		return tpm2.TPMTPublic{}, fmt.Errorf("derive the endorsement key: %w", endorsementError(err))
	}
	c.flush(made.ObjectHandle)
	area, err := made.OutPublic.Contents()
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	return *area, nil
}

// ClaimBy implements hsm.Endorser.
func (p *Provider) ClaimBy(ctx context.Context, keys []hsm.Key, by hsm.Endorsement) (hsm.Claim, error) {
	if _, err := p.attestable(keys); err != nil {
		return hsm.Claim{}, fmt.Errorf("tpm: claim: %w", err)
	}
	var claim hsm.Claim
	err := p.link.do(ctx, func(c *chip) (err error) {
		claim, err = c.claim(by)
		return err
	})
	if err != nil {
		return hsm.Claim{}, fmt.Errorf("tpm: claim: %w", err)
	}
	return claim, nil
}

package tpm

import (
	"context"
	"errors"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
)

// Create implements hsm.Provider. With a PIN it also takes one NV index of the
// chip, which Delete gives back. Where the chip cannot have such an index, or
// only for an owner password that nobody gives, the chip-wide counter guards the
// PIN instead, and the key's Protection says so.
//
// The first key of a TPM without a storage root at its usual handle leaves one
// there, for the tools of the TPM's owner to find and for the day that an owner
// password is set: from then on nobody could derive it again.
func (p *Provider) Create(ctx context.Context, t hsm.Template) (hsm.Key, error) {
	if err := checkTemplate(t); err != nil {
		return nil, fmt.Errorf("tpm: create a key: %w", err)
	}
	var ref *reference
	var encoded []byte
	err := p.link.do(ctx, func(c *chip) (err error) {
		if ref, err = c.newKey(t); err != nil {
			return err
		}
		encoded, err = ref.encode()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tpm: create a key: %w", err)
	}
	return &key{p, ref, encoded}, nil
}

func checkTemplate(t hsm.Template) error {
	switch {
	case t.Touch:
		return fmt.Errorf("%w: a TPM has no touch sensor", hsm.ErrUnsupported)
	case t.Algorithm != "" && t.Algorithm != hsm.ES256 && t.Algorithm != hsm.RS256:
		return fmt.Errorf("%w: algorithm %s", hsm.ErrUnsupported, t.Algorithm)
	case t.PINBound:
		return checkPIN(t.PIN)
	}
	return nil
}

// checkPIN refuses what cannot be the PIN of any key, before it costs a try.
func checkPIN(pin secret.Value) error {
	switch n := len(pin.Reveal()); {
	case n == 0:
		return hsm.ErrPINRequired
	case n < hsm.MinPIN || n > hsm.MaxPIN:
		return fmt.Errorf("%w: it has %d to %d bytes", hsm.ErrBadPIN, hsm.MinPIN, hsm.MaxPIN)
	}
	return nil
}

// newKey makes a key, and its PIN index first where there is a PIN.
func (c *chip) newKey(t hsm.Template) (*reference, error) {
	c.putAway()
	r, err := c.rootForNewKeys()
	if err != nil {
		return nil, err
	}
	r = c.settle(r)
	if !t.PINBound {
		return c.newKeyUnder(r, signingKey(t.Algorithm, nil), nil)
	}
	index, err := c.newPINIndex(r, t)
	if errors.Is(err, errNoPINIndex) || errors.Is(err, hsm.ErrAdminRequired) {
		return c.newLockoutKey(r, t)
	}
	if err != nil {
		return nil, err
	}
	ref, err := c.newKeyBehind(r, index, t.Algorithm)
	if err != nil {
		c.undo(func(c *chip) error { return c.undefine(index) })
	}
	return ref, err
}

func (c *chip) newKeyBehind(r *root, index *pinIndex, algorithm hsm.Algorithm) (*reference, error) {
	policy, err := index.keyPolicy()
	if err != nil {
		return nil, err
	}
	ref, err := c.newKeyUnder(r, signingKey(algorithm, policy), nil)
	if err == nil {
		ref.index = index
	}
	return ref, err
}

// newKeyUnder makes a key as a blob. An auth value goes to the chip encrypted.
func (c *chip) newKeyUnder(r *root, area tpm2.TPMTPublic, auth []byte) (*reference, error) {
	rsp, err := tpm2.Create{
		ParentHandle: r.auth(r.session(nil)),
		InSensitive: tpm2.TPM2BSensitiveCreate{
			Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: auth}},
		},
		InPublic: tpm2.New2B(area),
	}.Execute(c)
	if errors.Is(err, tpm2.TPMRCValue) || errors.Is(err, tpm2.TPMRCKeySize) {
		return nil, fmt.Errorf("%w: a key of this kind: %w", hsm.ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	ref := &reference{
		parent: r.file(), private: rsp.OutPrivate, public: *public, root: r.name.Buffer,
		creation: rsp.CreationData.Bytes(), hash: rsp.CreationHash.Buffer, ticket: rsp.CreationTicket,
	}
	return ref, ref.complete()
}

package tpm

import (
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// asOwner lends f the authority of the TPM's owner, in a session that is made for
// the password, which may be empty.
func (c *chip) asOwner(session func(password []byte) tpm2.Session, f func(owner tpm2.AuthHandle) error) error {
	password, err := c.ownerPassword()
	if err != nil {
		return err
	}
	defer clear(password)
	if len(password) != 0 {
		c.endSessions() // the proof needs a place
	}
	return ownerError(f(tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: session(password)}))
}

// ownerPassword returns a copy for the caller to wipe, empty where there is
// none. The TPM is asked first, so that nobody is asked in vain.
func (c *chip) ownerPassword() ([]byte, error) {
	set, err := c.ownerHasPassword()
	if err != nil || !set {
		return nil, err
	}
	if c.link.password == nil {
		return nil, errOwnerPassword
	}
	password, err := c.link.password()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOwnerPassword, err)
	}
	if password.Empty() {
		return nil, errOwnerPassword
	}
	return append([]byte(nil), password.Reveal()...), nil
}

var errOwnerPassword = fmt.Errorf("%w: the TPM's owner password is set", hsm.ErrAdminRequired)

func (c *chip) ownerHasPassword() (bool, error) {
	const ownerAuthSet = 1 << 0 // TPMA_PERMANENT (Part 2, 8.6)
	permanent, err := c.property(tpm2.TPMPTPermanent)
	return permanent&ownerAuthSet != 0, err
}

// ownerError explains a refusal of what only the chip's owner may do.
func ownerError(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w, and another than was given: %w", errOwnerPassword, err)
	}
	if errors.Is(err, tpm2.TPMRCHierarchy) {
		return fmt.Errorf("%w: the TPM's owner hierarchy is disabled: %w", hsm.ErrUnavailable, err)
	}
	return err
}

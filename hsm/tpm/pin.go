package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
)

// pinTries is how many wrong PINs in a row the chip takes before it refuses all.
const pinTries = 5

// authValue turns a PIN of any length into an auth value of an index, which may
// be no longer than a digest. The label keeps it from being a hash of the PIN
// that anything else might use. Zero bytes in an auth value are treacherous: a
// TPM cuts them off the end (Part 1, 19.6.4.3), and with one in the middle the
// right PIN was refused (measured). So 192 bits of the hash are written in
// base64url, 32 bytes of text. The caller wipes the result.
func authValue(pin secret.Value) []byte {
	h := sha256.New()
	h.Write([]byte("countersign tpm pin index v1\x00"))
	h.Write(pin.Reveal())
	return base64.RawURLEncoding.AppendEncode(nil, h.Sum(nil)[:24])
}

// authSize is the size of every authValue.
const authSize = 32

// pinIndex is an NV index of type PIN_FAIL that guards one key.
type pinIndex struct {
	public    tpm2.TPMSNVPublic // as it stands once written
	authority tpm2.TPMTPublic   // the key whose signature allowed the one write
}

// name is the index's Name as long as nobody has undefined it: a successor has
// not been written, which its Name shows, and nobody can write it.
func (x *pinIndex) name() (tpm2.TPM2BName, error) {
	n, err := tpm2.NVName(&x.public)
	if err != nil {
		return tpm2.TPM2BName{}, fmt.Errorf("name of the PIN index: %w", err)
	}
	return *n, nil
}

// keyPolicy is the policy of the key behind the index: the PIN, as checked by
// the index, and nothing else.
func (x *pinIndex) keyPolicy() ([]byte, error) {
	name, err := x.name()
	if err != nil {
		return nil, err
	}
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	secret := tpm2.PolicySecret{AuthHandle: tpm2.NamedHandle{Handle: x.public.NVIndex, Name: name}}
	if err := secret.Update(calc); err != nil {
		return nil, err
	}
	return calc.Hash().Digest, nil
}

// present reports whether the chip still holds this very index.
func (c *chip) present(x *pinIndex) (bool, error) {
	want, err := x.name()
	if err != nil {
		return false, err
	}
	rsp, err := tpm2.NVReadPublic{NVIndex: x.public.NVIndex}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the PIN index: %w", err)
	}
	return bytes.Equal(rsp.NVName.Buffer, want.Buffer), nil
}

// mustBePresent keeps the PIN, even as a wrong answer, from an index that took
// the place of ours: a try would be spent on somebody else.
func (c *chip) mustBePresent(x *pinIndex) error {
	present, err := c.present(x)
	if err == nil && !present {
		err = fmt.Errorf("%w: its PIN index is gone or was replaced", hsm.ErrForeignKey)
	}
	return err
}

// undefine removes the index, and only it: what stands at its handle by now may
// be somebody else's.
func (c *chip) undefine(x *pinIndex) error {
	rsp, err := tpm2.NVReadPublic{NVIndex: x.public.NVIndex}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the PIN index: %w", err)
	}
	there, err := rsp.NVPublic.Contents()
	if err != nil {
		return err
	}
	if !bytes.Equal(there.AuthPolicy.Buffer, x.public.AuthPolicy.Buffer) {
		return nil
	}
	r, err := c.rootForSessions()
	if err != nil {
		return fmt.Errorf("remove the PIN index: %w", err)
	}
	err = c.asOwner(r.proof, func(owner tpm2.AuthHandle) error {
		_, err := tpm2.NVUndefineSpace{
			AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: x.public.NVIndex, Name: rsp.NVName},
		}.Execute(c)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the PIN index: %w", err)
	}
	return nil
}

// triesLeft asks the chip, which tells its owner; -1 when it will not say.
func (c *chip) triesLeft(r *root, x *pinIndex) int {
	name, err := x.name()
	if err != nil {
		return -1
	}
	var content []byte
	err = c.asOwner(r.proof, func(owner tpm2.AuthHandle) error {
		rsp, err := tpm2.NVRead{
			AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: x.public.NVIndex, Name: name}, Size: 8,
		}.Execute(c)
		if err == nil {
			content = rsp.Data.Buffer
		}
		return err
	})
	if err != nil || len(content) != 8 {
		return -1
	}
	count, limit := binary.BigEndian.Uint32(content), binary.BigEndian.Uint32(content[4:])
	return int(max(limit, count) - count)
}

// proveError reads the chip's answer to a PIN.
func (c *chip) proveError(err error, r *root, x *pinIndex) error {
	switch {
	case errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCAuthFail):
		return &hsm.PINError{TriesLeft: c.triesLeft(r, x)}
	case errors.Is(err, tpm2.TPMRCAuthUnavailable):
		return &hsm.LockedError{}
	}
	return err // or nil
}

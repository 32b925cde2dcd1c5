package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// Status implements hsm.Provider. Vendor is the four-letter manufacturer id,
// Model the vendor string, Firmware four dotted numbers.
func (p *Provider) Status(ctx context.Context) (hsm.Status, error) {
	status := hsm.Status{Where: p.where}
	err := p.link.ask(ctx, func(c *chip) error {
		if err := c.describe(&status); err != nil {
			return err
		}
		// Without a storage root neither Create nor Open would work.
		r, err := c.rootForNewKeys()
		if err != nil {
			return err
		}
		status.Notes, err = c.notes(r)
		return err
	})
	if err != nil {
		return status, fmt.Errorf("tpm status: %w", err)
	}
	return status, nil
}

// describe fills in what the chip says about itself.
func (c *chip) describe(s *hsm.Status) error {
	const count = uint32(tpm2.TPMPTFirmwareVersion2-tpm2.TPMPTManufacturer) + 1
	p, err := c.properties(tpm2.TPMPTManufacturer, count)
	if err != nil {
		return err
	}
	word := func(name tpm2.TPMPT) []byte { return binary.BigEndian.AppendUint32(nil, p[name]) }
	var model []byte
	for i := range tpm2.TPMPT(4) {
		model = append(model, word(tpm2.TPMPTVendorString1+i)...)
	}
	s.Vendor, s.Model = printable(word(tpm2.TPMPTManufacturer)), printable(model)
	first, second := p[tpm2.TPMPTFirmwareVersion1], p[tpm2.TPMPTFirmwareVersion2]
	s.Firmware = fmt.Sprintf("%d.%d.%d.%d", first>>16, first&0xffff, second>>16, second&0xffff)
	return nil
}

// notes says what keeps a PIN from having a counter of its own here.
func (c *chip) notes(r *root) ([]hsm.Note, error) {
	var notes []hsm.Note
	revision, err := c.property(tpm2.TPMPTRevision)
	if err != nil {
		return nil, err
	}
	if revision < pinFailRevision || c.link.noPINIndex {
		notes = append(notes, hsm.Note{
			Code: "tpm_no_pin_index",
			Text: "This TPM cannot count the wrong PINs of one key: a PIN shares the counter that guards everything in the TPM.",
			Cure: "Ask the maker of this computer for newer TPM firmware, or use a token.",
		})
	}
	if locked, err := c.locked(); err != nil {
		return nil, err
	} else if locked {
		notes = append(notes, hsm.Note{
			Code: "tpm_locked",
			Text: "The TPM takes no passwords now, after somebody tried too many wrong ones. Keys with a PIN counter of their own work all the same.",
			Cure: "Wait, or have the owner of the TPM clear its lockout.",
		})
	}
	err = c.ownerProven(r)
	if errors.Is(err, hsm.ErrAdminRequired) {
		notes = append(notes, hsm.Note{
			Code: "tpm_owner_password",
			Text: "The TPM has an owner password that this service does not know. Existing keys sign; a new key's PIN shares the counter that guards everything in the TPM, and a PIN index cannot be removed.",
			Cure: "Give the service the TPM's owner password, then enroll again.",
		})
		err = nil
	}
	return notes, err
}

// locked reports that the dictionary-attack logic of the chip has shut (Part 2,
// 8.6.3, TPMA_PERMANENT.inLockout).
func (c *chip) locked() (bool, error) {
	const inLockout = 1 << 9
	permanent, err := c.property(tpm2.TPMPTPermanent)
	return permanent&inLockout != 0, err
}

// pinFailRevision is the first revision of TPM 2.0, times a hundred, that has
// indices of type PIN_FAIL.
const pinFailRevision = 138

// ownerProven tries the owner's password on something that changes nothing. A
// wrong one is not counted: the owner's hierarchy knows no lockout.
func (c *chip) ownerProven(r *root) error {
	set, err := c.ownerHasPassword()
	if err != nil || !set {
		return err
	}
	c.endSessions()
	policy := tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, noPolicyYet, r.salted())
	defer c.end(policy)
	if err := policy.Init(c); err != nil {
		return err
	}
	return c.asOwner(r.proof, func(owner tpm2.AuthHandle) error {
		_, err := tpm2.PolicySecret{
			AuthHandle: owner, PolicySession: policy.Handle(), NonceTPM: policy.NonceTPM(),
		}.Execute(c)
		return err
	})
}

// printable keeps the ASCII letters of a zero-padded property.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b)))
}

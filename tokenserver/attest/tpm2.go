package attest

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"errors"

	"countersign/protocol"

	"github.com/google/go-tpm/tpm2"
)

// secretSize is what fits into a credential for both kinds of endorsement key,
// and the size of a challenge.
const secretSize = 32

// OpenTPM2 judges who a TPM claims to be: an endorsement key certified under a
// root, and an attestation key that only attests. It returns the credential that
// only this TPM can open, and the secret in it.
func OpenTPM2(t Trust, start protocol.TPM2Start) (protocol.Credential, []byte, error) {
	ek, err := t.endorsement(start.EKChain)
	if err != nil {
		return protocol.Credential{}, nil, err
	}
	return challenge(ek, start.AK)
}

// challenge seals a secret for an attestation key beside an endorsement key.
func challenge(ek *endorsement, attestationKey protocol.Blob) (protocol.Credential, []byte, error) {
	ak, err := parseAttester(attestationKey)
	if err != nil {
		return protocol.Credential{}, nil, err
	}
	seal, err := tpm2.ImportEncapsulationKey(&ek.public)
	if err != nil {
		return protocol.Credential{}, nil, refused("the endorsement key cannot be used")
	}
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret)
	blob, seed, err := tpm2.CreateCredential(rand.Reader, seal, ak.name, secret)
	if err != nil {
		return protocol.Credential{}, nil, refused("the endorsement key cannot be used")
	}
	return protocol.Credential{Blob: blob, Secret: seed}, secret, nil
}

// TPM2Case is everything to judge a TPM's keys by.
type TPM2Case struct {
	// Start is what OpenTPM2 was given.
	Start protocol.TPM2Start
	Proof protocol.TPM2Proof
	// Nonce is the challenge, Secret what OpenTPM2 put into the credential.
	Nonce, Secret []byte
	Keys          Keys
}

// VerifyTPM2 judges a TPM's proof. Each key must be proved that Keys names, and
// no other. That the private half of an index's authority was thrown away, and
// that a person chose the PIN, no chip can prove; the rest of what a Finding
// says the chip did.
func VerifyTPM2(t Trust, c TPM2Case) (Findings, error) {
	if len(c.Nonce) != secretSize || len(c.Secret) != secretSize {
		return Findings{}, errors.New("attest: nonce and secret have 32 bytes")
	}
	if subtle.ConstantTimeCompare(c.Proof.Secret, c.Secret) != 1 {
		return Findings{}, refused("the TPM has not opened its credential")
	}
	if err := c.checkMembers(); err != nil {
		return Findings{}, err
	}
	ek, err := t.endorsement(c.Start.EKChain)
	if err != nil {
		return Findings{}, err
	}
	ak, err := parseAttester(c.Start.AK)
	if err != nil {
		return Findings{}, err
	}
	j := &tpm2Judge{ak: ak, nonce: c.Nonce}
	f, err := j.findings(c)
	if err != nil {
		return Findings{}, err
	}
	for _, found := range []*Finding{f.Device, f.Approval} {
		if found != nil {
			found.Chip = ek.chip
			found.Chip.Firmware = dotted(j.firmware)
		}
	}
	return f, nil
}

// checkMembers refuses a proof of other keys than those that are asked about.
func (c TPM2Case) checkMembers() error {
	p := c.Proof
	switch {
	case c.Keys.Device == nil && c.Keys.Approval == nil:
		return errors.New("attest: no key to judge")
	case (p.Device != nil) != (c.Keys.Device != nil):
		return refused("the proof of the device key is missing, or nobody asked for it")
	case (p.Approval != nil) != (c.Keys.Approval != nil):
		return refused("the proof of the approval key is missing, or nobody asked for it")
	case p.Index != nil && p.Approval == nil:
		return refused("the proof has an index and no approval key")
	}
	return nil
}

// tpm2Judge holds what all statements of one proof have in common.
type tpm2Judge struct {
	ak    *attester
	nonce []byte
	// firmware and parent are those of the first statement, and must be those
	// of every other.
	firmware *uint64
	parent   []byte
}

func (j *tpm2Judge) findings(c TPM2Case) (f Findings, err error) {
	if p := c.Proof.Device; p != nil {
		if err := j.key("device key", p, c.Keys.Device, deviceKind()); err != nil {
			return f, err
		}
		f.Device = &Finding{Format: protocol.AttestationTPM2}
	}
	p := c.Proof.Approval
	if p == nil {
		return f, nil
	}
	kind, found := lockoutKind(), &Finding{Format: protocol.AttestationTPM2, PINCounter: protocol.PINCounterLockout}
	if x := c.Proof.Index; x != nil {
		name, err := j.index(x)
		if err != nil {
			return f, err
		}
		kind = indexKind(name)
		found.PINBound, found.PINCounter = true, protocol.PINCounterIndex
	}
	if err := j.key("approval key", p, c.Keys.Approval, kind); err != nil {
		return f, err
	}
	f.Approval = found
	return f, nil
}

// sameParent makes sure that all keys hang under one storage root.
func (j *tpm2Judge) sameParent(name []byte) bool {
	if j.parent == nil {
		j.parent = name
	}
	return bytes.Equal(j.parent, name)
}

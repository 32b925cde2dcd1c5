package attest

import (
	"countersign/protocol"
)

// Opened is an attestation that has begun.
type Opened struct {
	// Credential is for the device, Secret what is in it; nil without a TPM.
	Credential *protocol.Credential
	Secret     []byte
}

// Open judges the beginning of an attestation of these keys: its members are
// those of the format that it claims, and the chips are of makers trusted here,
// before a person is asked for anything. Where they are not, the refusal is
// protocol.ProblemMaker.
func Open(t Trust, start protocol.StartAttestation, keys Keys) (Opened, error) {
	if err := checkMembers(start, keys); err != nil {
		return Opened{}, err
	}
	if start.PIV != nil {
		if err := openPIV(t, *start.PIV); err != nil {
			return Opened{}, err
		}
	}
	if start.TPM2 == nil {
		return Opened{}, nil
	}
	credential, secret, err := OpenTPM2(t, *start.TPM2)
	if err != nil {
		return Opened{}, err
	}
	return Opened{&credential, secret}, nil
}

// checkMembers holds the members to the format, which is that of the approval
// key. Only beside a token may the device key be in a TPM, and one without a
// certificate proves nothing of it.
func checkMembers(start protocol.StartAttestation, keys Keys) error {
	tpm, piv := start.TPM2 != nil, start.PIV != nil
	var fits bool
	switch start.Format {
	case protocol.AttestationNone:
		fits = !tpm && !piv
	case protocol.AttestationTPM2:
		fits = tpm && !piv
	case protocol.AttestationPIV:
		// An empty list would be a second way to write that it is missing.
		elsewhere := piv && start.PIV.Device == nil
		fits = piv && (!tpm || elsewhere && keys.Device != nil)
	default:
		return refused("the attestation format is unknown")
	}
	if !fits {
		return refused("the attestation has not the members of its format")
	}
	return nil
}

// Case is everything to judge an attestation by.
type Case struct {
	Start protocol.StartAttestation
	Proof *protocol.ProofAttestation
	// Nonce is the challenge, Secret that of Opened.
	Nonce, Secret []byte
	// Keys are those to be judged: both, or one that takes an old one's place.
	// A device key alone cannot be on a token.
	Keys Keys
}

// Verify judges the whole of an attestation. With protocol.AttestationNone,
// which claims nothing, nothing may be there and nothing is found.
func Verify(t Trust, c Case) (Findings, error) {
	if err := checkMembers(c.Start, c.Keys); err != nil {
		return Findings{}, err
	}
	proof := protocol.ProofAttestation{}
	if c.Proof != nil {
		proof = *c.Proof
	}
	none := c.Start.Format == protocol.AttestationNone
	if none != (c.Proof == nil) || (c.Start.TPM2 == nil) != (proof.TPM2 == nil) || (c.Start.PIV == nil) != (proof.PIV == nil) {
		return Findings{}, refused("the proof has not the members that the attestation began with")
	}
	switch {
	case none:
		return Findings{}, nil
	case proof.PIV == nil:
		return VerifyTPM2(t, TPM2Case{*c.Start.TPM2, *proof.TPM2, c.Nonce, c.Secret, c.Keys})
	case proof.TPM2 == nil:
		keys := c.Keys
		if c.Start.PIV.Device == nil {
			keys.Device = nil // it is not on the token, and nothing is found about it
		}
		return VerifyPIV(t, PIVCase{*c.Start.PIV, *proof.PIV, c.Nonce, keys})
	}
	return verifyMixed(t, c, proof)
}

// verifyMixed judges a device key in a TPM beside an approval key on a token.
func verifyMixed(t Trust, c Case, proof protocol.ProofAttestation) (Findings, error) {
	piv, err := VerifyPIV(t, PIVCase{*c.Start.PIV, *proof.PIV, c.Nonce, Keys{Approval: c.Keys.Approval}})
	if err != nil {
		return Findings{}, err
	}
	tpm, err := VerifyTPM2(t, TPM2Case{*c.Start.TPM2, *proof.TPM2, c.Nonce, c.Secret, Keys{Device: c.Keys.Device}})
	if err != nil {
		return Findings{}, err
	}
	return Findings{Device: tpm.Device, Approval: piv.Approval}, nil
}

// Verdict is what a finding means for a key of a device whose agent says that
// it runs in such isolation. Without a finding it is the device's word, and
// never more.
func Verdict(f *Finding, facts protocol.DeviceFacts) protocol.Verdict {
	if f == nil {
		return protocol.Verdict{Format: protocol.AttestationNone, Isolation: facts.Isolation, Chip: facts.Chip}
	}
	return protocol.Verdict{
		Format: f.Format, Attested: true, PINBound: f.PINBound, TouchBound: f.TouchBound, PINCounter: f.PINCounter,
		Advisory: f.Advisory, Isolation: facts.Isolation, Chip: f.Chip,
	}
}

package attest

import (
	"countersign/protocol"
)

// OpenTPM2 judges who a TPM claims to be: an endorsement key certified under a
// root, and an attestation key that only attests. It returns the credential that
// only this TPM can open, and the secret in it.
func OpenTPM2(t Trust, start protocol.TPM2Start) (protocol.Credential, []byte, error) {
	panic("to be merged")
}

// TPM2Case is everything to judge a TPM's keys by.
type TPM2Case struct {
	Start protocol.TPM2Start
	Proof protocol.TPM2Proof
	// Nonce is the challenge, Secret what OpenTPM2 put into the credential.
	Nonce, Secret []byte
	Keys          Keys
}

// VerifyTPM2 judges a TPM's proof.
func VerifyTPM2(t Trust, c TPM2Case) (Findings, error) { panic("to be merged") }

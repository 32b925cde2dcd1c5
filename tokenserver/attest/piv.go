package attest

import (
	"countersign/protocol"
)

// PIVCase is everything to judge a token's keys by.
type PIVCase struct {
	Start protocol.PIVStart
	Proof protocol.PIVProof
	Nonce []byte
	Keys  Keys
}

// VerifyPIV judges a token's proof.
func VerifyPIV(t Trust, c PIVCase) (Findings, error) { panic("to be merged") }

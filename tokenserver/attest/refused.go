package attest

import (
	"countersign/protocol"
	"countersign/tokenserver/problem"
)

// refused says what is wrong with an attestation, in words of ours alone.
func refused(format string, args ...any) error {
	return problem.New(protocol.ProblemAttestation, format, args...)
}

package attest

import "countersign/protocol"

// ReadPIV reads a slot's attestation without what the real key would have to
// sign.
func ReadPIV(t Trust, chain []protocol.Blob) (Finding, error) {
	leaf, err := verifyPIVChain(t, "approval", chain)
	if err != nil {
		return Finding{}, err
	}
	s, err := readPIVSlot("approval", leaf)
	return *s.finding(), err
}

package attest

import (
	"crypto/x509"

	"countersign/protocol"
)

// VendorName is for the test of how makers are shown.
var VendorName = vendorName

// ChipOf is what an endorsement key's certificate says of its chip.
func ChipOf(der []byte) (protocol.Chip, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return protocol.Chip{}, err
	}
	return chipOf(leaf)
}

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

package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"countersign/protocol"

	"github.com/google/go-tpm/tpm2"
)

// endorsement is a TPM as its maker certified it.
type endorsement struct {
	public tpm2.TPMTPublic
	chip   protocol.Chip
}

// endorsement judges the chain of an endorsement key's certificate (TCG EK
// Credential Profile, 3.2) and says which chip it is for.
func (t Trust) endorsement(sent []protocol.Blob) (*endorsement, error) {
	chain, err := parseChain("endorsement key", sent)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	chip, err := chipOf(leaf)
	if err != nil {
		return nil, err
	}
	public, usage, err := endorsementKey(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	const secrets = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageDataEncipherment
	kpEKCertificate := asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	switch {
	case leaf.IsCA:
		return nil, refused("the certificate of the endorsement key is one of an authority")
	case leaf.KeyUsage&usage == 0 || leaf.KeyUsage&^secrets != 0:
		return nil, refused("the certificate of the endorsement key allows another use of the key")
	case !slices.ContainsFunc(leaf.UnknownExtKeyUsage, kpEKCertificate.Equal):
		return nil, refused("the certificate is not one of an endorsement key")
	}
	return &endorsement{public, chip}, t.verifyChain("endorsement key", chain)
}

// endorsementKey is the public area that the chip must have for an endorsement
// key, by the profile's templates L-1 and L-2, and the use that a certificate
// must allow. The chip opens nothing that is sealed for any other area.
func endorsementKey(public crypto.PublicKey) (tpm2.TPMTPublic, x509.KeyUsage, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() == 2048 && key.E == 65537 {
			area := tpm2.RSAEKTemplate
			area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.FillBytes(make([]byte, 256))})
			return area, x509.KeyUsageKeyEncipherment, nil
		}
	case *ecdsa.PublicKey:
		if raw, err := key.Bytes(); err == nil && key.Curve == elliptic.P256() {
			area := tpm2.ECCEKTemplate
			area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
			})
			return area, x509.KeyUsageKeyAgreement, nil
		}
	}
	return tpm2.TPMTPublic{}, 0, refused("the endorsement key is neither RSA of 2048 bits nor on P-256")
}

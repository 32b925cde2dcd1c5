package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// attester is the attestation key: a key of the chip that signs what the chip
// itself says, and nothing that anybody hands it.
type attester struct {
	key  *ecdsa.PublicKey
	name []byte
}

func parseAttester(raw []byte) (*attester, error) {
	area, err := parse[tpm2.TPMTPublic]("attestation key", raw)
	if err != nil {
		return nil, err
	}
	kind := deviceKind()
	kind.attributes.Restricted = true
	if area.Type != tpm2.TPMAlgECC || !kind.matches(area) {
		return nil, refused("the attestation key is not a restricted signing key on P-256 that was made in the TPM and stays there")
	}
	key, err := tpm2.Pub(*area)
	if err != nil {
		return nil, refused("the attestation key cannot be read")
	}
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, refused("the attestation key cannot be read")
	}
	return &attester{pub, nameOf(raw)}, nil
}

// statement reads what the chip said of the kind that is wanted, once it is sure
// that this attestation key said it over this challenge.
func (j *tpm2Judge) statement(of string, kind tpm2.TPMST, raw, signature []byte) (*tpm2.TPMSAttest, error) {
	if err := j.ak.verify(of, raw, signature); err != nil {
		return nil, err
	}
	s, err := parse[tpm2.TPMSAttest]("statement about the "+of, raw)
	if err != nil {
		return nil, err
	}
	if j.firmware == nil {
		j.firmware = &s.FirmwareVersion
	}
	switch {
	case s.Magic != tpm2.TPMGeneratedValue:
		return nil, refused("the statement about the %s was not made by a TPM", of)
	case s.Type != kind:
		return nil, refused("the statement about the %s is of another kind", of)
	case !bytes.Equal(s.ExtraData.Buffer, j.nonce):
		return nil, refused("the statement about the %s is for another challenge", of)
	case !bytes.Equal(s.QualifiedSigner.Buffer, primaryName(tpm2.TPMRHEndorsement, j.ak.name)):
		return nil, refused("the statement about the %s was signed by a key outside the endorsement hierarchy", of)
	case s.FirmwareVersion != *j.firmware:
		return nil, refused("the statements come from different firmware")
	}
	return s, nil
}

// verify checks a TPMT_SIGNATURE whose numbers are written at full length.
func (a *attester) verify(of string, message, raw []byte) error {
	signature, err := parse[tpm2.TPMTSignature]("signature over the statement about the "+of, raw)
	if err != nil {
		return err
	}
	s, err := signature.Signature.ECDSA()
	if err != nil || signature.SigAlg != tpm2.TPMAlgECDSA || s.Hash != tpm2.TPMAlgSHA256 ||
		len(s.SignatureR.Buffer) != 32 || len(s.SignatureS.Buffer) != 32 {
		return refused("the signature over the statement about the %s is not ECDSA with SHA-256 on P-256", of)
	}
	digest := sha256.Sum256(message)
	r, t := new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)
	if !ecdsa.Verify(a.key, digest[:], r, t) {
		return refused("the signature over the statement about the %s does not verify", of)
	}
	return nil
}

// dotted writes a firmware version as four numbers of 16 bits.
func dotted(v *uint64) string {
	return fmt.Sprintf("%d.%d.%d.%d", *v>>48, *v>>32&0xffff, *v>>16&0xffff, *v&0xffff)
}

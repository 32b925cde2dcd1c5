package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// Blob is binary in a message: base64 (RFC 4648 section 4) exactly as an
// encoder writes it, so that no two texts mean the same bytes.
type Blob []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *Blob) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return errorf(CodeBadMessage, "a binary member is not a string")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 {
		return errorf(CodeBadMessage, "a binary member is empty or not base64")
	}
	// The decoder skips line ends, and JSON has several spellings of a string.
	if again, err := json.Marshal(raw); err != nil || !bytes.Equal(again, data) {
		return errorf(CodeBadMessage, "a binary member is not plain base64")
	}
	*b = raw
	return nil
}

// StartAttestation opens the attestation of both keys. Format is that of the
// approval key; a device key may live in a TPM beside a token's approval key,
// and then both members are there. With AttestationNone neither is.
type StartAttestation struct {
	Format string     `json:"format"`
	TPM2   *TPM2Start `json:"tpm2,omitempty"`
	PIV    *PIVStart  `json:"piv,omitempty"`
}

// TPM2Start says which TPM claims to hold the keys.
type TPM2Start struct {
	// EKChain is the endorsement key's certificate and what leads towards its
	// root, DER, leaf first. The root is not sent: the server has it.
	EKChain []Blob `json:"ek_chain"`
	// AK is the attestation key, a TPMT_PUBLIC (TPM 2.0 Part 2, 12.2.4).
	AK Blob `json:"ak"`
}

// PIVStart holds the attestation of each slot: the slot's certificate and what
// leads towards its root, DER, leaf first, the root not sent.
type PIVStart struct {
	// Device is missing where the device key lives in a TPM.
	Device   []Blob `json:"device,omitempty"`
	Approval []Blob `json:"approval"`
}

// Credential is what TPM2_ActivateCredential opens: a secret that only the TPM
// of this endorsement key can read, and only beside this very attestation key.
type Credential struct {
	// Blob is the TPMS_ID_OBJECT, Secret the content of the
	// TPM2B_ENCRYPTED_SECRET (TPM 2.0 Part 1, 24).
	Blob   Blob `json:"blob"`
	Secret Blob `json:"secret"`
}

// ProofAttestation answers the challenge. It has the members that
// StartAttestation had.
type ProofAttestation struct {
	TPM2 *TPM2Proof `json:"tpm2,omitempty"`
	PIV  *PIVProof  `json:"piv,omitempty"`
}

// TPM2Proof proves keys of a TPM.
type TPM2Proof struct {
	// Secret is what was in the Credential.
	Secret Blob     `json:"secret"`
	Device *TPM2Key `json:"device,omitempty"`
	// Approval is missing where the approval key lives on a token.
	Approval *TPM2Key `json:"approval,omitempty"`
	// Index is the PIN index that the approval key's policy names.
	Index *TPM2Index `json:"index,omitempty"`
}

// TPM2Key proves one key. Its names are those of TPM 2.0 Part 2.
type TPM2Key struct {
	// Public is the TPMT_PUBLIC, Creation the TPMS_CREATION_DATA.
	Public   Blob `json:"public"`
	Creation Blob `json:"creation"`
	// Attest is the TPMS_ATTEST of TPM2_CertifyCreation with the challenge as
	// qualifying data, Signature the TPMT_SIGNATURE over it by the AK.
	Attest    Blob `json:"attest"`
	Signature Blob `json:"signature"`
}

// TPM2Index proves a PIN index.
type TPM2Index struct {
	// Public is the TPMS_NV_PUBLIC of the written index, Authority the
	// TPMT_PUBLIC of the key that allowed its one write.
	Public    Blob `json:"public"`
	Authority Blob `json:"authority"`
	// Attest is the TPMS_ATTEST of TPM2_NV_Certify over all of the index's
	// content, with the challenge as qualifying data.
	Attest    Blob `json:"attest"`
	Signature Blob `json:"signature"`
}

// PIVProof holds, per key, its signature over SHA-256 of
// PIVChallenge(challenge), in ASN.1 DER.
type PIVProof struct {
	Device   Blob `json:"device,omitempty"`
	Approval Blob `json:"approval"`
}

// PIVChallenge is the message that a token's keys sign for a challenge. The
// label keeps it apart from whatever else these keys sign.
func PIVChallenge(challenge []byte) []byte {
	return append([]byte("countersign piv attestation v1\x00"), challenge...)
}

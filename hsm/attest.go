package hsm

import "context"

// Attester is a Provider whose chip can prove to a server that keys live in it
// and what protects them. The proof takes two steps, with the server's
// challenge in between; a caller that crashes in between goes on with the
// stored Claim.
type Attester interface {
	// Claim opens the proof for keys of this Provider. It returns
	// ErrNoAttestation where the chip was not given what it takes, such as an
	// endorsement certificate.
	Claim(ctx context.Context, keys []Key) (Claim, error)
	// Prove answers the server's challenge for the same keys in the same
	// order. Auth is needed where a key must sign, as a token's.
	Prove(ctx context.Context, c Claim, challenge Challenge, keys []Key, auth Auth) (Proof, error)
}

// Endorser is an Attester whose chip has endorsement keys, and can prove to have
// one of them whether or not its maker has certified it.
type Endorser interface {
	// Endorsements are the chip's, those with a certificate first. It returns
	// ErrNoAttestation where the chip lets nobody use them.
	Endorsements(ctx context.Context) ([]Endorsement, error)
	// ClaimBy is Claim with one of these.
	ClaimBy(ctx context.Context, keys []Key, by Endorsement) (Claim, error)
}

// Endorsement is an endorsement key: its SubjectPublicKeyInfo, and its certificate
// with what leads towards the root as in a Claim, or nothing.
type Endorsement struct {
	Key   []byte
	Chain [][]byte
}

// Attestation formats.
const (
	FormatTPM2 = "tpm2"
	FormatPIV  = "piv"
)

// Claim is what a chip says of itself. All of it may be stored in the clear.
type Claim struct {
	// Format is FormatTPM2 or FormatPIV.
	Format string
	// Endorsement is a TPM's endorsement key certificate and what leads towards
	// its root, DER, leaf first, without the root.
	Endorsement [][]byte
	// EK is the endorsement key's SubjectPublicKeyInfo, where the claim was made by
	// an Endorsement; Endorsement may then be empty.
	EK []byte
	// AK is the attestation key's TPMT_PUBLIC.
	AK []byte
	// Chains are, per key of a token, the slot's attestation certificate and
	// what leads towards its root, DER, leaf first, without the root.
	Chains [][][]byte
	// Resume is what the back end needs to answer the challenge.
	Resume []byte
}

// Challenge is what the server wants answered.
type Challenge struct {
	// Nonce is fresh and the server's, 32 bytes.
	Nonce []byte
	// Credential and Secret are the TPMS_ID_OBJECT and the encrypted seed, the
	// contents of TPM2B_ENCRYPTED_SECRET, that TPM2_ActivateCredential takes.
	Credential, Secret []byte
}

// Proof is the chip's answer to a Challenge.
type Proof struct {
	// Secret is what a TPM found in the credential.
	Secret []byte
	Keys   []KeyProof
}

// KeyProof is the proof about one key.
type KeyProof struct {
	// Public is the TPMT_PUBLIC, Creation the TPMS_CREATION_DATA, Attest the
	// TPMS_ATTEST of TPM2_CertifyCreation over the nonce, Signature its
	// TPMT_SIGNATURE by the AK. With a token Signature alone is set: the key's
	// own, over PIVChallenge of the nonce.
	Public, Creation, Attest, Signature []byte
	// Index is the PIN index that the key's policy names, or nil.
	Index *IndexProof
}

// IndexProof is the proof about a PIN index.
type IndexProof struct {
	// Public is the TPMS_NV_PUBLIC, Authority the TPMT_PUBLIC of the key that
	// allowed its one write, Attest the TPMS_ATTEST of TPM2_NV_Certify over the
	// nonce, Signature its TPMT_SIGNATURE by the AK.
	Public, Authority, Attest, Signature []byte
}

// PIVChallenge is the message whose SHA-256 a token's key signs for a nonce.
// The label keeps it apart from whatever else the key signs.
func PIVChallenge(nonce []byte) []byte {
	return append([]byte("countersign piv attestation v1\x00"), nonce...)
}

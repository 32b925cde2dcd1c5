package protocol

import (
	"crypto"
	"slices"
)

// PathRenewals is where a device asks for a certificate of a new key in place of
// an old one, below the device URL. The steps after the first are
// PathRenewals/{id}/activation and PathRenewals/{id}/acknowledgement.
const PathRenewals = PathEnrollment + "/renewals"

// The same words mean another thing when a device enrolls once more, so that none
// can be taken for the other.
const (
	typSuccession  = "key-succession+jwt"
	typPredecessor = "device-succession+jwt"
)

// RenewalStart is the first step, POST PathRenewals: one key of the device,
// with fresh attestation, signed over by the key that it takes the place of. The
// same body again gets the same answer until the renewal is acknowledged; another
// body drops the renewal before, whose key is good for nothing from then on.
type RenewalStart struct {
	Role Role `json:"role"`
	// CSR is DER (RFC 2986), signed by the new key.
	CSR Blob `json:"csr"`
	// Succession is the old key's word, by SignSuccession.
	Succession  string           `json:"succession"`
	Attestation StartAttestation `json:"attestation"`
}

// RenewalStarted answers the first step with 201, as EnrollmentStarted does.
type RenewalStarted struct {
	ID         string      `json:"id"`
	Challenge  []byte      `json:"challenge"`
	Credential *Credential `json:"credential,omitempty"`
}

// RenewalActivation is the second step. It may be repeated.
type RenewalActivation struct {
	// Attestation is missing with AttestationNone.
	Attestation *ProofAttestation `json:"attestation,omitempty"`
}

// Renewed answers the second step with 200. From now on the new key is good,
// and the old one still is until the device acknowledges with an empty POST that
// it keeps the new certificate; that is answered with 204, however often.
type Renewed struct {
	// Chain is DER, leaf first, root last.
	Chain       []Blob  `json:"chain"`
	Attestation Verdict `json:"attestation"`
}

// Succession is what an old key signs about the new key of the same role. It
// keeps somebody who has the device's files and its network, but not the old
// key's PIN, from putting a key of their own in its place.
type Succession struct {
	// Issuer is the device id, Audience the Token Server, Subject the profile
	// id.
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	IssuedAt int64  `json:"iat"`
	Role     Role   `json:"role"`
	// Key is the thumbprint of the new key.
	Key string `json:"key"`
}

// SignSuccession validates s and signs it with the old key.
func SignSuccession(old crypto.Signer, s *Succession) (string, error) {
	return s.sign(old, typSuccession)
}

func (s *Succession) sign(old crypto.Signer, typ string) (string, error) {
	if err := s.validate(); err != nil {
		return "", err
	}
	return sign(old, typ, s)
}

// ParseSuccession verifies a succession with the one key that may have signed
// it.
func ParseSuccession(compact string, old crypto.PublicKey) (*Succession, error) {
	return parseSuccession(compact, typSuccession, old)
}

func parseSuccession(compact, typ string, old crypto.PublicKey) (*Succession, error) {
	keys, err := NewKeys(old)
	if err != nil {
		return nil, err
	}
	s := new(Succession)
	if err := verify(compact, typ, keys, s); err != nil {
		return nil, err
	}
	return s, s.validate()
}

func (s *Succession) validate() error {
	err := checkTexts([]textRule{
		{"iss", s.Issuer, maxID, true},
		{"aud", s.Audience, maxValue, true},
		{"sub", s.Subject, maxID, true},
	})
	if err != nil {
		return err
	}
	if !ValidIssuer(s.Audience) || !validTime(s.IssuedAt) || !isHash(s.Key) || !slices.Contains([]Role{RoleDevice, RoleApproval}, s.Role) {
		return errorf(CodeBadMessage, "the succession is incomplete")
	}
	return nil
}

package protocol

import (
	"crypto"
	"slices"
)

const (
	typReceipt   = "decision-receipt+jwt"
	typRejection = "decision-rejection+jwt"
)

// Chip is what a security chip says of itself.
type Chip struct {
	Vendor   string `json:"vendor,omitempty"`
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
}

func (c Chip) validate(name string) error {
	return checkTexts([]textRule{
		{name + ".vendor", c.Vendor, maxName, false},
		{name + ".model", c.Model, maxName, false},
		{name + ".firmware", c.Firmware, maxName, false},
	})
}

// Attestation formats.
const (
	AttestationNone = "none"
	AttestationTPM2 = "tpm2"
	AttestationPIV  = "piv"
)

// Who counts the wrong PINs of a key.
const (
	// PINCounterIndex: the key's own index in its TPM, which ends it at five.
	PINCounterIndex = "index"
	// PINCounterLockout: the TPM's shared counter, which whoever administers
	// the TPM can reset. A key guarded by it alone is not PIN-bound.
	PINCounterLockout = "lockout"
	// PINCounterToken: the token's.
	PINCounterToken = "token"
)

// Verdict is what the server established at enrollment about one key of a
// device. In a receipt it is that of the key which signed the decision, so that
// it need not be taken from plain JSON.
type Verdict struct {
	Format string `json:"format"`
	// Attested says that the chip itself proved what follows.
	Attested   bool `json:"attested"`
	PINBound   bool `json:"pin_bound"`
	TouchBound bool `json:"touch_bound"`
	// PINCounter is one of the PINCounter constants, or "" where the chip
	// proved none.
	PINCounter string `json:"pin_counter,omitempty"`
	// Advisory names a published weakness of such a chip, e.g.
	// "CVE-2024-45678", for whoever decides to take note.
	Advisory string `json:"advisory,omitempty"`
	// Isolation is "service" where the agent said it runs under a uid of its
	// own, else "user".
	Isolation string `json:"isolation"`
	Chip      Chip   `json:"chip"`
}

func (v Verdict) validate() error {
	err := checkTexts([]textRule{
		{"attestation.format", v.Format, maxLabel, true},
		{"attestation.isolation", v.Isolation, maxLabel, true},
		{"attestation.advisory", v.Advisory, maxLabel, false},
	})
	if err != nil {
		return err
	}
	if err := v.Chip.validate("attestation.chip"); err != nil {
		return err
	}
	switch {
	case !slices.Contains([]string{AttestationNone, AttestationTPM2, AttestationPIV}, v.Format):
		return errorf(CodeBadMessage, "attestation.format is unknown")
	case v.Isolation != "service" && v.Isolation != "user":
		return errorf(CodeBadMessage, "attestation.isolation is unknown")
	case v.Attested && v.Format == AttestationNone:
		return errorf(CodeBadMessage, "attested without an attestation")
	case !slices.Contains([]string{"", PINCounterIndex, PINCounterLockout, PINCounterToken}, v.PINCounter):
		return errorf(CodeBadMessage, "attestation.pin_counter is unknown")
	}
	return nil
}

// Receipt is the server's signed word on what a decision led to.
type Receipt struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	// Decision is the Hash of the decision's compact bytes.
	Decision string `json:"decision"`
	// State is the transaction's final state.
	State       State   `json:"state"`
	Attestation Verdict `json:"attestation"`
}

// SignReceipt validates r and signs it with the server's key.
func SignReceipt(key crypto.Signer, r *Receipt) (string, error) {
	if err := r.validate(); err != nil {
		return "", err
	}
	return sign(key, typReceipt, r)
}

// ParseReceipt verifies a receipt with the server's keys.
func ParseReceipt(compact string, keys Keys) (*Receipt, error) {
	r := new(Receipt)
	if err := verify(compact, typReceipt, keys, r); err != nil {
		return nil, err
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Receipt) validate() error {
	if err := r.Attestation.validate(); err != nil {
		return err
	}
	err := checkTexts([]textRule{
		{"iss", r.Issuer, maxValue, true},
		{"aud", r.Audience, maxID, true},
		{"jti", r.ID, maxID, true},
	})
	if err != nil {
		return err
	}
	if !ValidIssuer(r.Issuer) || !validTime(r.IssuedAt) || !isHash(r.Decision) || !r.State.Final() {
		return errorf(CodeBadMessage, "the receipt is incomplete")
	}
	return nil
}

// Acknowledges checks that the receipt is for this decision of this device.
func (r *Receipt) Acknowledges(compact string, d *Decision) error {
	if r.Issuer != d.Audience || r.Audience != d.Issuer || r.ID != d.ID || r.Decision != Hash([]byte(compact)) {
		return errorf(CodeMismatch, "the receipt is for another decision")
	}
	return nil
}

// Rejection is the server's signed refusal of a decision that used up a try.
type Rejection struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Decision string `json:"decision"`
	// Code is the problem's code, e.g. "wrong_number".
	Code string `json:"code"`
	// TriesLeft is how many numbers the server will still look at, over all
	// devices.
	TriesLeft int `json:"tries_left"`
	// State is StatePending, or StateFailed after the last try.
	State State `json:"state"`
}

// SignRejection signs r with the server's key.
func SignRejection(key crypto.Signer, r *Rejection) (string, error) {
	if err := r.validate(); err != nil {
		return "", err
	}
	return sign(key, typRejection, r)
}

// ParseRejection verifies a rejection with the server's keys.
func ParseRejection(compact string, keys Keys) (*Rejection, error) {
	r := new(Rejection)
	if err := verify(compact, typRejection, keys, r); err != nil {
		return nil, err
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Rejection) validate() error {
	err := checkTexts([]textRule{
		{"iss", r.Issuer, maxValue, true},
		{"aud", r.Audience, maxID, true},
		{"jti", r.ID, maxID, true},
		{"code", r.Code, maxLabel, true},
	})
	if err != nil {
		return err
	}
	if !ValidIssuer(r.Issuer) || !validTime(r.IssuedAt) || !isHash(r.Decision) {
		return errorf(CodeBadMessage, "the rejection is incomplete")
	}
	pending := r.State == StatePending && r.TriesLeft > 0
	failed := r.State == StateFailed && r.TriesLeft == 0
	if !pending && !failed {
		return errorf(CodeBadMessage, "state and tries_left do not fit")
	}
	return nil
}

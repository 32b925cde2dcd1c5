package ipc

import (
	"net/http"

	"countersign/internal/secret"
)

// The bodies that carry a secret have wire types of their own, used only
// here: everywhere else a secret refuses to be encoded.

type wireAnswer struct {
	RequestHash string `json:"request_hash"`
	DisplayHash string `json:"display_hash"`
	Language    string `json:"language,omitempty"`
	TimeZone    string `json:"time_zone,omitempty"`
	Decision    string `json:"decision"`
	Reason      string `json:"reason,omitempty"`
	Number      string `json:"number,omitempty"`
	Surface     string `json:"surface"`
	PIN         []byte `json:"pin,omitempty"`
}

func (a Answer) wire() wireAnswer {
	return wireAnswer{a.RequestHash, a.DisplayHash, a.Language, a.TimeZone, a.Decision, a.Reason, a.Number, a.Surface, a.PIN.Reveal()}
}

// DecodeAnswer reads an Answer from a request's body.
func DecodeAnswer(r *http.Request) (Answer, error) {
	var w wireAnswer
	if err := Decode(r, &w); err != nil {
		return Answer{}, err
	}
	return Answer{w.RequestHash, w.DisplayHash, w.Language, w.TimeZone, w.Decision, w.Reason, w.Number, w.Surface, secret.New(w.PIN)}, nil
}

type wireEnrollment struct {
	URI       []byte `json:"uri"`
	Key       string `json:"key"`
	Name      string `json:"name,omitempty"`
	PIN       []byte `json:"pin,omitempty"`
	Admin     []byte `json:"admin,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Touch     bool   `json:"touch,omitempty"`
	KeepAdmin bool   `json:"keep_admin,omitempty"`
	NoProof   bool   `json:"no_attestation,omitempty"`
}

func (e Enrollment) wire() wireEnrollment {
	return wireEnrollment{e.URI.Reveal(), e.Key, e.Name, e.PIN.Reveal(), e.Admin.Reveal(), e.Algorithm, e.Touch, e.KeepAdmin, e.NoAttestation}
}

// DecodeEnrollment reads an Enrollment from a request's body.
func DecodeEnrollment(r *http.Request) (Enrollment, error) {
	var w wireEnrollment
	if err := Decode(r, &w); err != nil {
		return Enrollment{}, err
	}
	return Enrollment{
		URI: secret.New(w.URI), Key: w.Key, Name: w.Name, PIN: secret.New(w.PIN), Admin: secret.New(w.Admin),
		Algorithm: w.Algorithm, Touch: w.Touch, KeepAdmin: w.KeepAdmin, NoAttestation: w.NoProof,
	}, nil
}

type wireDeletion struct {
	PIN   []byte `json:"pin,omitempty"`
	Admin []byte `json:"admin,omitempty"`
}

func (d KeyDeletion) wire() wireDeletion { return wireDeletion{d.PIN.Reveal(), d.Admin.Reveal()} }

// DecodeKeyDeletion reads a KeyDeletion from a request's body.
func DecodeKeyDeletion(r *http.Request) (KeyDeletion, error) {
	var w wireDeletion
	if err := Decode(r, &w); err != nil {
		return KeyDeletion{}, err
	}
	return KeyDeletion{secret.New(w.PIN), secret.New(w.Admin)}, nil
}

package ipc

import (
	"net/http"

	"countersign/internal/secret"
)

// The two bodies that carry a secret have wire types of their own, used only
// here: everywhere else a secret refuses to be encoded.

type wireAnswer struct {
	RequestHash string `json:"request_hash"`
	DisplayHash string `json:"display_hash"`
	Decision    string `json:"decision"`
	Reason      string `json:"reason,omitempty"`
	Number      string `json:"number,omitempty"`
	Surface     string `json:"surface"`
	PIN         []byte `json:"pin,omitempty"`
}

func (a Answer) wire() wireAnswer {
	return wireAnswer{a.RequestHash, a.DisplayHash, a.Decision, a.Reason, a.Number, a.Surface, a.PIN.Reveal()}
}

// DecodeAnswer reads an Answer from a request's body.
func DecodeAnswer(r *http.Request) (Answer, error) {
	var w wireAnswer
	if err := Decode(r, &w); err != nil {
		return Answer{}, err
	}
	return Answer{w.RequestHash, w.DisplayHash, w.Decision, w.Reason, w.Number, w.Surface, secret.New(w.PIN)}, nil
}

type wireEnrollment struct {
	URI  []byte `json:"uri"`
	Key  string `json:"key"`
	Name string `json:"name,omitempty"`
	PIN  []byte `json:"pin,omitempty"`
}

func (e Enrollment) wire() wireEnrollment {
	return wireEnrollment{e.URI.Reveal(), e.Key, e.Name, e.PIN.Reveal()}
}

// DecodeEnrollment reads an Enrollment from a request's body.
func DecodeEnrollment(r *http.Request) (Enrollment, error) {
	var w wireEnrollment
	if err := Decode(r, &w); err != nil {
		return Enrollment{}, err
	}
	return Enrollment{secret.New(w.URI), w.Key, w.Name, secret.New(w.PIN)}, nil
}

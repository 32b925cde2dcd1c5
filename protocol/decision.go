package protocol

import (
	"crypto"
	"encoding/base64"
	"slices"
	"strings"
)

const typDecision = "approval-decision+jwt"

// What a person can decide, and why they can deny.
const (
	Approve         = "approve"
	Deny            = "deny"
	ReasonCancelled = "cancelled"
	ReasonNotMe     = "not_me"
)

// How the user was verified, beyond typing a number.
const (
	UVNone        = "none"
	UVPIN         = "pin"
	UVFingerprint = "fingerprint"
	UVPolkit      = "polkit"
	UVPlugin      = "plugin"
	UVTouch       = "pin_touch"
)

// Surfaces on which a person decided, as the user's own program declares.
const (
	SurfacePrompt = "prompt"
	SurfaceTTY    = "tty"
	SurfaceCLI    = "cli"
)

// NoPrev is the prev of a device's first decision: 32 zero bytes.
var NoPrev = base64.RawURLEncoding.EncodeToString(make([]byte, 32)) //nolint:gochecknoglobals // a constant in all but name

// UV is the user verification of a decision.
type UV struct {
	Method string `json:"method"`
	// Class is what the person's acts amount to, at least the request's for
	// an approval.
	Class   Class  `json:"class"`
	Surface string `json:"surface"`
}

// Decision is what the hardware signs: exactly what one person decided about
// exactly what was shown.
type Decision struct {
	// Issuer is the device id, Audience the Token Server, Subject the profile
	// id, ID the transaction id.
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	// Request is the Hash of the request's compact bytes, Display that of the
	// display record made with the three members that follow.
	Request        string `json:"req"`
	Display        string `json:"display"`
	DisplayVersion int    `json:"display_v"`
	Language       string `json:"lang"`
	TimeZone       string `json:"tz"`
	Decision       string `json:"decision"`
	Reason         string `json:"reason,omitempty"`
	// Number is what the person typed; only the server knows the right one.
	Number string `json:"number,omitempty"`
	UV     UV     `json:"uv"`
	// Prev is the Hash of this device's previous decision, or NoPrev.
	Prev string `json:"prev"`
}

// SignDecision validates d and signs it, in hardware where key is hsm.Signer.
func SignDecision(key crypto.Signer, d *Decision) (string, error) {
	if err := d.Validate(); err != nil {
		return "", err
	}
	return sign(key, typDecision, d)
}

// ParseDecision verifies a compact JWS with a device's keys and returns a
// valid decision. Whether it answers a request is Answers's to say, and
// whether that key may sign it KeyInfo.MaySign's.
func ParseDecision(compact string, keys Keys) (*Decision, error) {
	d := new(Decision)
	if err := verify(compact, typDecision, keys, d); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return d, nil
}

// KeyID is the thumbprint of the key that a JWS of the profile claims to be
// signed with. Nothing is verified.
func KeyID(compact string) (string, error) {
	if len(compact) > MaxMessage {
		return "", errorf(CodeTooLarge, "the JWS is over %d bytes", MaxMessage)
	}
	h, err := parseHeader(compact)
	return h.Kid, err
}

// Validate checks every member against the protocol's limits.
func (d *Decision) Validate() error {
	err := checkTexts([]textRule{
		{"iss", d.Issuer, maxID, true},
		{"aud", d.Audience, maxValue, true},
		{"sub", d.Subject, maxID, true},
		{"jti", d.ID, maxID, true},
		{"lang", d.Language, maxLabel, true},
		{"tz", d.TimeZone, maxLabel, true},
	})
	if err != nil {
		return err
	}
	switch {
	case !validTime(d.IssuedAt):
		return errorf(CodeBadMessage, "iat is missing")
	case !isHash(d.Request) || !isHash(d.Display) || !isHash(d.Prev):
		return errorf(CodeBadMessage, "req, display and prev are base64url SHA-256")
	case !validNumber(d.Number):
		return errorf(CodeBadMessage, "number is not at most 9 digits")
	case !d.UV.Class.Valid() || !slices.Contains([]string{UVNone, UVPIN, UVFingerprint, UVPolkit, UVPlugin, UVTouch}, d.UV.Method):
		return errorf(CodeBadMessage, "uv is unknown")
	case d.Decision == Approve && d.UV.Class >= C2 && d.UV.Method != UVPIN && d.UV.Method != UVTouch:
		// All else is the operating system's word, and no act inside the chip.
		return errorf(CodeBadMessage, "uv says class %s without a PIN", d.UV.Class)
	case !slices.Contains([]string{SurfacePrompt, SurfaceTTY, SurfaceCLI}, d.UV.Surface):
		return errorf(CodeBadMessage, "uv.surface is unknown")
	}
	return d.validateReason()
}

func (d *Decision) validateReason() error {
	switch {
	case d.Decision == Approve && d.Reason == "":
		return nil
	case d.Decision == Deny && (d.Reason == ReasonCancelled || d.Reason == ReasonNotMe):
		return nil
	}
	return errorf(CodeBadMessage, "decision and reason do not fit")
}

func validNumber(s string) bool {
	return len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}

// satisfies reports whether a verification is what a method asks for. From C2 on
// it is the PIN, checked in the chip, which may stand in for any other; below
// that a PIN is a word that no key backs, and stands for nothing.
func (u UV) satisfies(method string) bool {
	if u.Class >= C2 {
		return true
	}
	switch method {
	case MethodPush:
		return u.Method == UVNone
	case MethodFingerprint:
		return u.Method == UVFingerprint
	case MethodCustom:
		return u.Method == UVPolkit || u.Method == UVPlugin
	}
	return false
}

// Answers checks that d decides about this request, compact as it was sent,
// and about the display record that both sides make of it.
func (d *Decision) Answers(compact string, r *Request) error {
	switch {
	case d.ID != r.ID || d.Audience != r.Issuer || d.Issuer != r.Audience || d.Subject != r.Subject:
		return errorf(CodeMismatch, "the decision is not about this request")
	case d.Request != Hash([]byte(compact)):
		return errorf(CodeMismatch, "the decision is about other request bytes")
	case d.Decision == Approve && d.UV.Class < r.Class:
		return errorf(CodeMismatch, "the decision's class %s is below the request's %s", d.UV.Class, r.Class)
	case d.Decision == Approve && !d.UV.satisfies(r.Method):
		return errorf(CodeMismatch, "user verification %s of class %s does not satisfy the method %s", d.UV.Method, d.UV.Class, r.Method)
	case d.Decision == Approve && len(d.Number) != r.Digits():
		return errorf(CodeMismatch, "the decision has no number of %d digits", r.Digits())
	}
	record, err := Display(r, d.DisplayVersion, d.Language, d.TimeZone)
	if err != nil {
		return err
	}
	if record.Hash() != d.Display {
		return errorf(CodeMismatch, "the decision is about another display record")
	}
	return nil
}

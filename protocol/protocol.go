// Package protocol is the wire between device, Token Server and relying party.
//
// An approval request is signed by the server, shown to a person as a display
// record, and answered by a decision signed in hardware over the hashes of
// both. The server acknowledges with a signed receipt. Request, decision,
// receipt and the certificate chain together are the evidence, which anybody
// verifies without trusting this code or the server's database.
//
// Everything that arrives is parsed strictly: what this package does not
// understand it refuses, because nobody can consent to what was not shown.
// Parsers never panic, never repair and never truncate. Nothing here does
// input or output or knows a clock.
package protocol

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
)

// MediaTypeJOSE is the content type of a compact JWS (RFC 7515 section 9.2.1).
const MediaTypeJOSE = "application/jose"

// MaxMessage is the size in bytes over which a JWS is refused unread.
const MaxMessage = 64 << 10

// Error is a refusal with a stable code. Detail is safe to show: it names
// members and limits and never repeats what was received.
type Error struct{ Code, Detail string }

func (e *Error) Error() string { return "protocol: " + e.Detail }

// Codes of an Error.
const (
	CodeTooLarge     = "too_large"
	CodeBadJWS       = "bad_jws"
	CodeUnknownKey   = "unknown_key"
	CodeBadSignature = "bad_signature"
	CodeBadText      = "bad_text"
	CodeBadMessage   = "bad_message"
	CodeBadCert      = "bad_certificate"
	CodeMismatch     = "evidence_mismatch"
)

func errorf(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Hash is the base64url SHA-256 by which messages name each other.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// isHash reports whether s is what Hash returns for something.
func isHash(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size && len(s) == 43
}

// Class is how much a person must do to approve. The zero value is no class.
type Class int

// The consent classes. No push method is resistant to phishing, C3 included.
const (
	// C0: opens the prompt and confirms.
	C0 Class = iota + 1
	// C1: types the number that the relying party shows.
	C1
	// C2: C1, and a PIN checked inside the chip, every time.
	C2
	// C3: C2, and a touch on the token.
	C3
)

// Valid reports whether c is one of the classes.
func (c Class) Valid() bool { return c >= C0 && c <= C3 }

// String is "C0" to "C3".
func (c Class) String() string {
	if !c.Valid() {
		return "no class"
	}
	return fmt.Sprintf("C%d", int(c-C0))
}

// MarshalText implements encoding.TextMarshaler.
func (c Class) MarshalText() ([]byte, error) {
	if !c.Valid() {
		return nil, errorf(CodeBadMessage, "not a consent class")
	}
	return []byte(c.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Class) UnmarshalText(b []byte) error {
	for v := C0; v <= C3; v++ {
		if v.String() == string(b) {
			*c = v
			return nil
		}
	}
	return errorf(CodeBadMessage, "not a consent class")
}

// Methods of a transaction type.
const (
	MethodPush        = "push"
	MethodPIN         = "push_with_pin"
	MethodFingerprint = "push_with_fingerprint"
	MethodCustom      = "push_with_custom_authenticator"
	MethodOTP         = "otp"
)

// Methods are all methods, in the order of telling.
func Methods() []string {
	return []string{MethodPush, MethodPIN, MethodFingerprint, MethodCustom, MethodOTP}
}

// ValidMethod reports whether m is one of the methods.
func ValidMethod(m string) bool { return slices.Contains(Methods(), m) }

// State of a transaction. Every state but StatePending is final.
type State string

// The states.
const (
	StatePending   State = "pending"
	StateApproved  State = "approved"
	StateDenied    State = "denied"
	StateExpired   State = "expired"
	StateCancelled State = "cancelled"
	StateFailed    State = "failed"
)

// Final reports whether s is a final state.
func (s State) Final() bool {
	return slices.Contains([]State{StateApproved, StateDenied, StateExpired, StateCancelled, StateFailed}, s)
}

// Package secret carries PINs and tokens through the program without letting
// them reach a log, an error text, a JSON document or a core format verb.
//
// A Value protects against carelessness, not against an attacker who reads the
// process's memory: Go's garbage collector may leave copies. Wipe is therefore
// a courtesy that shortens a secret's life, never a promise that it is gone.
package secret

import (
	"errors"
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// ErrMarshal is returned by every attempt to encode a Value.
var ErrMarshal = errors.New("secret: refusing to encode a secret")

// Value is a secret byte string. The zero Value is the empty secret. Copies
// share their bytes: whoever makes a Value wipes it.
type Value struct{ b []byte }

// New takes ownership of b; the caller must not use b afterwards.
func New(b []byte) Value { return Value{b} }

// Reveal returns the secret's own bytes, not a copy.
func (v Value) Reveal() []byte { return v.b }

// Empty reports whether there is nothing to keep secret.
func (v Value) Empty() bool { return len(v.b) == 0 }

// Wipe overwrites the secret in place.
func (v Value) Wipe() { clear(v.b) }

// String, GoString and Format hide the secret from every print verb.
func (Value) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return redacted }

// Format implements fmt.Formatter.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON refuses, so that a secret in a struct by mistake is an error
// rather than a leak.
func (Value) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }

// MarshalText refuses as MarshalJSON does.
func (Value) MarshalText() ([]byte, error) { return nil, ErrMarshal }

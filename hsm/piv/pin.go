//go:build cgo

package piv

import (
	"bytes"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"
)

// What a token takes as a PIN. Shorter ones are filled up with the byte ff, so
// that byte cannot be part of one (SP 800-73-4 Part 2, 2.4.3).
const (
	minPIN  = hsm.MinPIN
	maxPIN  = 8
	padding = 0xff
)

// checkPIN refuses what the card must not see, before it costs a try.
func checkPIN(pin secret.Value) error {
	b := pin.Reveal()
	switch {
	case len(b) == 0:
		return hsm.ErrPINRequired
	case len(b) < minPIN || len(b) > maxPIN || bytes.IndexByte(b, padding) >= 0:
		return fmt.Errorf("%w: a token's PIN has %d to %d bytes, none of them ff", hsm.ErrBadPIN, minPIN, maxPIN)
	}
	return nil
}

//go:build cgo

package piv

import (
	"errors"
	"fmt"

	"countersign/hsm"
)

// statusOf returns the status word in an error of ours or of piv-go's; 0 where
// there is none.
func statusOf(err error) uint16 {
	var status interface{ Status() uint16 }
	if errors.As(err, &status) {
		return status.Status()
	}
	return 0
}

func isStatus(err error, sw uint16) bool { return err != nil && statusOf(err) == sw }

// triesOf reads the number of PINs left from the answer to a VERIFY; -1 where
// it holds none.
func triesOf(sw uint16) int {
	switch {
	case sw == swBlocked:
		return 0
	case sw&swTriesMask == swTries, sw&swTriesMask == 0x6300: // older tokens write 630n
		return int(sw & 0xf)
	}
	return -1
}

// pinError names the card's refusal of a PIN. Other errors pass.
func pinError(err error) error {
	sw := statusOf(err)
	switch tries := triesOf(sw); {
	case err == nil:
		return nil
	case sw == swBlocked:
		return fmt.Errorf("%w; its PUK unblocks it: ykman piv access unblock-pin", &hsm.LockedError{})
	case tries >= 0:
		return &hsm.PINError{TriesLeft: tries}
	case sw == swBadData:
		return fmt.Errorf("%w: %w", hsm.ErrBadPIN, err)
	}
	return err
}

//go:build cgo

package piv

import (
	"errors"
	"fmt"
)

// Data objects of a card are BER-TLV with tags of one byte, or of two that
// begin with 7F, and lengths of up to three bytes (ISO/IEC 7816-4, 5.2.2).

var errTLV = errors.New("malformed data object of the card")

// appendTLV appends one data object.
func appendTLV(to []byte, tag byte, value []byte) []byte {
	to = append(to, tag)
	switch n := len(value); {
	case n < 0x80:
		to = append(to, byte(n))
	case n < 0x100:
		to = append(to, 0x81, byte(n))
	default:
		to = append(to, 0x82, byte(n>>8), byte(n))
	}
	return append(to, value...)
}

// cutTLV takes the first data object off b.
func cutTLV(b []byte) (tag byte, value, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errTLV
	}
	tag, length, b := b[0], int(b[1]), b[2:]
	if length >= 0x80 {
		size := length - 0x80
		if size < 1 || size > 2 || len(b) < size {
			return 0, nil, nil, errTLV
		}
		length = 0
		for _, octet := range b[:size] {
			length = length<<8 | int(octet)
		}
		b = b[size:]
	}
	if length > len(b) {
		return 0, nil, nil, errTLV
	}
	return tag, b[:length], b[length:], nil
}

// splitTLV reads a sequence of data objects. A tag that comes twice is refused.
func splitTLV(b []byte) (map[byte][]byte, error) {
	objects := map[byte][]byte{}
	for len(b) > 0 {
		tag, value, rest, err := cutTLV(b)
		if err != nil {
			return nil, err
		}
		if _, twice := objects[tag]; twice {
			return nil, fmt.Errorf("%w: tag %02x twice", errTLV, tag)
		}
		objects[tag], b = value, rest
	}
	return objects, nil
}

// unwrapTLV reads the one data object of this tag that is all of b.
func unwrapTLV(b []byte, want byte) ([]byte, error) {
	tag, value, rest, err := cutTLV(b)
	if err != nil {
		return nil, err
	}
	if tag != want || len(rest) != 0 {
		return nil, fmt.Errorf("%w: want the single tag %02x", errTLV, want)
	}
	return value, nil
}

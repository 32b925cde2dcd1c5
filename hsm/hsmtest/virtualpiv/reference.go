package virtualpiv

import (
	"bytes"
	"crypto/subtle"
	"slices"
)

// What a PIN and a PUK are on a card that nobody has set up.
const (
	factoryPIN   = "123456"
	factoryPUK   = "12345678"
	factoryTries = 3
)

// referenceSize is the length of a PIN or PUK in a command, filled up with ff.
const (
	referenceSize    = 8
	minReferenceSize = 6
)

// reference is a PIN or PUK with its counter.
type reference struct {
	value   []byte
	factory bool
	tries   int
	left    int
}

func newReference(value string) reference {
	return reference{value: pad(value), factory: true, tries: factoryTries, left: factoryTries}
}

func pad(value string) []byte {
	padded := bytes.Repeat([]byte{0xff}, referenceSize)
	copy(padded, value)
	return padded
}

// wellFormed refuses what is too short, and what has a gap.
func wellFormed(padded []byte) bool {
	text := bytes.TrimRight(padded, "\xff")
	return len(padded) == referenceSize && len(text) >= minReferenceSize && !slices.Contains(text, 0xff)
}

// check compares, and counts. The last wrong try still says that it was wrong;
// that the reference is blocked is said to the next.
func (r *reference) check(candidate []byte) status {
	switch {
	case r.left == 0:
		return swBlocked
	case subtle.ConstantTimeCompare(candidate, r.value) == 1:
		r.left = r.tries
		return swOK
	}
	r.left--
	return swTriesLeft | status(min(r.left, 0x0f))
}

// state is how many tries are left, as an empty VERIFY asks it.
func (r *reference) state() status {
	if r.left == 0 {
		return swBlocked
	}
	return swTriesLeft | status(min(r.left, 0x0f))
}

// set gives the reference another value and all its tries.
func (r *reference) set(value []byte) {
	r.value, r.factory, r.left = slices.Clone(value), false, r.tries
}

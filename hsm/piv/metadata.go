//go:build cgo

package piv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
)

// metadata is the answer of Yubico's GET METADATA (firmware 5.3) for a key, for
// the PIN, for the PUK or for the management key, whichever of it applies.
type metadata struct {
	algorithm byte
	pin       byte
	touch     byte
	public    *ecdsa.PublicKey // nil where it is not a key on P-256
	factory   bool             // the value is the one that tokens are sold with
	tries     int              // left; -1 where not told
}

// The algorithms that this package reads or makes (SP 800-78-4, Table 6-2).
const (
	algorithm3DES   = 0x03
	algorithmAES128 = 0x08
	algorithmAES192 = 0x0a
	algorithmAES256 = 0x0c
	algorithmP256   = 0x11
)

// What GET METADATA and the other commands refer to.
const (
	refPIN        = 0x80
	refPUK        = 0x81
	refManagement = 0x9b
)

func parseMetadata(b []byte) (*metadata, error) {
	objects, err := splitTLV(b)
	if err != nil {
		return nil, err
	}
	m := &metadata{tries: -1}
	for tag, value := range objects {
		if err := m.take(tag, value); err != nil {
			return nil, err
		}
	}
	if m.algorithm == algorithmP256 {
		if m.public, err = parsePoint(objects[0x04]); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// take reads one data object. What it does not know, a newer firmware added.
func (m *metadata) take(tag byte, value []byte) error {
	sizes := map[byte]int{0x01: 1, 0x02: 2, 0x05: 1, 0x06: 2}
	if want, known := sizes[tag]; known && len(value) != want {
		return fmt.Errorf("%w: tag %02x with %d bytes", errTLV, tag, len(value))
	}
	switch tag {
	case 0x01:
		m.algorithm = value[0]
	case 0x02:
		m.pin, m.touch = value[0], value[1]
	case 0x05:
		m.factory = value[0] != 0
	case 0x06:
		m.tries = int(value[1])
	}
	return nil
}

// parsePoint reads a public key as the card writes it: an uncompressed point
// under the tag 86.
func parsePoint(b []byte) (*ecdsa.PublicKey, error) {
	point, err := unwrapTLV(b, 0x86)
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

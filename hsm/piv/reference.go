//go:build cgo

package piv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"countersign/hsm"
)

// A reference is a PEM block of this type with the DER of referenceBody in it.
const (
	referenceType    = "COUNTERSIGN PIV KEY"
	referenceVersion = 1
)

// The policies of a key as the card encodes them.
const (
	pinNever    = 1
	pinAlways   = 3
	touchNever  = 1
	touchAlways = 2
)

// The retired key management slots, the ones no PIV application gives a
// meaning to (SP 800-73-4 Part 1, Table 4b).
const (
	firstSlot = 0x82
	lastSlot  = 0x95
)

type referenceBody struct {
	Version   int
	Serial    int64
	Slot      int
	PublicKey []byte // SubjectPublicKeyInfo
	PIN       int
	Touch     int
	// Sum is the SHA-256 of the DER with an empty Sum. With one bit lost a
	// reference would be a good one of a token that nobody has.
	Sum []byte
}

// reference is what is kept of a key outside the token. It holds no secret.
type reference struct {
	serial uint32
	slot   byte
	public *ecdsa.PublicKey
	pin    byte
	touch  byte
}

func (r *reference) bound() bool { return r.pin == pinAlways }

func (r *reference) place() string { return fmt.Sprintf("slot %x of token %d", r.slot, r.serial) }

// compare refuses any key but this one; nil stands for an empty slot.
func (r *reference) compare(key *ecdsa.PublicKey) error {
	switch {
	case key == nil:
		return fmt.Errorf("%w: %s is empty", hsm.ErrForeignKey, r.place())
	case !key.Equal(r.public):
		return fmt.Errorf("%w: %s holds another key", hsm.ErrForeignKey, r.place())
	}
	return nil
}

func (r *reference) encode() ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(r.public)
	if err != nil {
		return nil, err
	}
	body := referenceBody{
		Version: referenceVersion, Serial: int64(r.serial), Slot: int(r.slot),
		PublicKey: spki, PIN: int(r.pin), Touch: int(r.touch),
	}
	unsummed, err := asn1.Marshal(body)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(unsummed)
	body.Sum = sum[:]
	return encodePEM(referenceType, body)
}

func decode(b []byte) (*reference, error) { return exactly(b, parseReference) }

func parseReference(b []byte) (*reference, error) {
	var body referenceBody
	if err := decodePEM(b, referenceType, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Version != referenceVersion:
		return nil, fmt.Errorf("a reference of version %d", body.Version)
	case body.PIN != pinNever && body.PIN != pinAlways:
		return nil, errors.New("unknown PIN policy")
	case body.Touch != touchNever && body.Touch != touchAlways:
		return nil, errors.New("unknown touch policy")
	}
	if err := checkPlace(body.Serial, body.Slot); err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(body.PublicKey)
	if err != nil {
		return nil, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a key on P-256")
	}
	return &reference{uint32(body.Serial), byte(body.Slot), key, byte(body.PIN), byte(body.Touch)}, nil
}

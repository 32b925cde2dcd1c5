//go:build cgo

package piv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
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
	der, err := asn1.Marshal(body)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: referenceType, Bytes: der}), nil
}

// decode reads what encode wrote, byte for byte. Every error is a
// hsm.ErrBadReference.
func decode(b []byte) (*reference, error) {
	r, err := decodeReference(b)
	if err == nil {
		var again []byte
		if again, err = r.encode(); err == nil && !bytes.Equal(again, b) {
			err = errors.New("not in the one form that is written")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hsm.ErrBadReference, err)
	}
	return r, nil
}

func decodeReference(b []byte) (*reference, error) {
	var body referenceBody
	if err := decodePEM(b, referenceType, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Version != referenceVersion:
		return nil, fmt.Errorf("a reference of version %d", body.Version)
	case body.Serial != int64(uint32(body.Serial)):
		return nil, errors.New("no serial number of a token")
	case body.Slot < firstSlot || body.Slot > lastSlot:
		return nil, errors.New("no retired slot")
	case body.PIN != pinNever && body.PIN != pinAlways:
		return nil, errors.New("unknown PIN policy")
	case body.Touch != touchNever && body.Touch != touchAlways:
		return nil, errors.New("unknown touch policy")
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

func decodePEM(b []byte, blockType string, body any) error {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != blockType || len(rest) != 0 {
		return fmt.Errorf("not a single PEM block of type %s", blockType)
	}
	if rest, err := asn1.Unmarshal(block.Bytes, body); err != nil || len(rest) != 0 {
		return errors.New("malformed content")
	}
	return nil
}

//go:build cgo

package piv

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"countersign/hsm"
)

// A reservation names the slot that a Create is about to fill, and the number
// that Create writes there before anything else. Release finds what was left by
// that number, and touches nothing where it is not.
const (
	reservationType    = "COUNTERSIGN PIV RESERVATION"
	reservationVersion = 1
	nonceSize          = 16
)

type reservationBody struct {
	Version int
	Serial  int64
	Slot    int
	Nonce   []byte
}

type reservation struct {
	serial uint32
	slot   byte
	nonce  string // in hex
}

func (r *reservation) encode() ([]byte, error) {
	nonce, err := hex.DecodeString(r.nonce)
	if err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(reservationBody{reservationVersion, int64(r.serial), int(r.slot), nonce})
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: reservationType, Bytes: der}), nil
}

func decodeReservation(b []byte) (*reservation, error) {
	r, err := parseReservation(b)
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

func parseReservation(b []byte) (*reservation, error) {
	var body reservationBody
	if err := decodePEM(b, reservationType, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Version != reservationVersion:
		return nil, fmt.Errorf("a reservation of version %d", body.Version)
	case body.Serial != int64(uint32(body.Serial)):
		return nil, errors.New("no serial number of a token")
	case body.Slot < firstSlot || body.Slot > lastSlot:
		return nil, errors.New("no retired slot")
	case len(body.Nonce) != nonceSize:
		return nil, errors.New("no number of a reservation")
	}
	return &reservation{uint32(body.Serial), byte(body.Slot), hex.EncodeToString(body.Nonce)}, nil
}

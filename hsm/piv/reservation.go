//go:build cgo

package piv

import (
	"encoding/hex"
	"errors"
	"fmt"
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
	return encodePEM(reservationType, reservationBody{reservationVersion, int64(r.serial), int(r.slot), nonce})
}

func decodeReservation(b []byte) (*reservation, error) { return exactly(b, parseReservation) }

func parseReservation(b []byte) (*reservation, error) {
	var body reservationBody
	if err := decodePEM(b, reservationType, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Version != reservationVersion:
		return nil, fmt.Errorf("a reservation of version %d", body.Version)
	case len(body.Nonce) != nonceSize:
		return nil, errors.New("no number of a reservation")
	}
	if err := checkPlace(body.Serial, body.Slot); err != nil {
		return nil, err
	}
	return &reservation{uint32(body.Serial), byte(body.Slot), hex.EncodeToString(body.Nonce)}, nil
}

//go:build cgo

package piv

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"countersign/hsm"
)

// encodePEM writes what is kept outside the token.
func encodePEM(blockType string, body any) ([]byte, error) {
	der, err := asn1.Marshal(body)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), nil
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

// exactly reads by parse what encode wrote, byte for byte. Every error is a
// hsm.ErrBadReference.
func exactly[T interface{ encode() ([]byte, error) }](b []byte, parse func([]byte) (T, error)) (T, error) {
	v, err := parse(b)
	if err == nil {
		var again []byte
		if again, err = v.encode(); err == nil && !bytes.Equal(again, b) {
			err = errors.New("not in the one form that is written")
		}
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("%w: %w", hsm.ErrBadReference, err)
	}
	return v, nil
}

// checkPlace refuses what names no retired slot of a token.
func checkPlace(serial int64, slot int) error {
	switch {
	case serial != int64(uint32(serial)):
		return errors.New("no serial number of a token")
	case slot < firstSlot || slot > lastSlot:
		return errors.New("no retired slot")
	}
	return nil
}

//go:build cgo

package piv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // what tokens before firmware 5.7 are sold with
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"countersign/hsm"
)

// authenticate proves the management key to the card, and the card to us
// (SP 800-73-4 Part 2, 3.2.4, mutual authentication). There is no counter of
// wrong keys.
func (a *applet) authenticate(key []byte) error {
	algorithm, err := a.managementAlgorithm()
	if err != nil {
		return err
	}
	block, err := managementCipher(algorithm, key)
	if err != nil {
		return err
	}
	size := block.BlockSize()
	witness, err := a.challenge(algorithm, []byte{0x80, 0}, 0x80, size)
	if err != nil {
		return err
	}
	block.Decrypt(witness, witness)
	challenge, want := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(challenge) // never fails
	block.Encrypt(want, challenge)
	answer := appendTLV(nil, 0x80, witness)
	got, err := a.challenge(algorithm, appendTLV(answer, 0x81, challenge), 0x82, size)
	if isStatus(err, swNotSatisfied) || isStatus(err, swBadData) {
		return fmt.Errorf("%w: the card refused the management key: %w", hsm.ErrAdminRequired, err)
	}
	if err == nil && subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.New("the card does not know its management key")
	}
	return err
}

// challenge sends one step of the authentication and reads the object of its
// answer.
func (a *applet) challenge(algorithm byte, template []byte, answer byte, size int) ([]byte, error) {
	b, err := transmit(a, command{insAuth, algorithm, refManagement, appendTLV(nil, 0x7c, template)})
	if err != nil {
		return nil, err
	}
	if b, err = unwrapTLV(b, 0x7c); err != nil {
		return nil, err
	}
	if b, err = unwrapTLV(b, answer); err != nil {
		return nil, err
	}
	if len(b) != size {
		return nil, errResponse
	}
	return b, nil
}

// managementAlgorithm is 3DES where the firmware knows nothing else.
func (a *applet) managementAlgorithm() (byte, error) {
	if !a.firmware.hasMetadata() {
		return algorithm3DES, nil
	}
	m, err := a.metadata(refManagement)
	if err != nil {
		return 0, err
	}
	return m.algorithm, nil
}

func managementCipher(algorithm byte, key []byte) (cipher.Block, error) {
	size := map[byte]int{algorithm3DES: 24, algorithmAES128: 16, algorithmAES192: 24, algorithmAES256: 32}[algorithm]
	if size == 0 {
		return nil, fmt.Errorf("%w: a management key of the unknown algorithm %02x", hsm.ErrUnsupported, algorithm)
	}
	if len(key) != size {
		return nil, fmt.Errorf("%w: this token's has %d bytes, not %d", hsm.ErrAdminRequired, size, len(key))
	}
	if algorithm == algorithm3DES {
		return des.NewTripleDESCipher(key) //nolint:gosec // as above
	}
	return aes.NewCipher(key)
}

package virtualpiv

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rand"
	"crypto/subtle"
	"slices"
)

// slotManagement is the key reference of the management key.
const slotManagement = 0x9b

// managementKey is the symmetric key of whoever sets the card up.
type managementKey struct {
	algorithm algorithmID
	value     []byte
	touch     byte
}

// factoryManagementKey has the same bytes on each YubiKey, and since firmware
// 5.7 another algorithm.
func factoryManagementKey(f firmware) managementKey {
	k := managementKey{algTDES, factoryManagementValue(), touchNever}
	if f.atLeast(5, 7) {
		k.algorithm = algAES192
	}
	return k
}

func factoryManagementValue() []byte {
	return bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3)
}

func managementKeySize(a algorithmID) int {
	switch a {
	case algTDES, algAES192:
		return 24
	case algAES128:
		return 16
	case algAES256:
		return 32
	default:
		return 0
	}
}

// block is the key's cipher. A key that the card has accepted has one.
func (k managementKey) block() (cipher.Block, error) {
	if k.algorithm == algTDES {
		return des.NewTripleDESCipher(k.value)
	}
	return aes.NewCipher(k.value)
}

func (k managementKey) encrypt(plain []byte) ([]byte, bool) {
	b, err := k.block()
	if err != nil || len(plain) != b.BlockSize() {
		return nil, false
	}
	out := make([]byte, len(plain))
	b.Encrypt(out, plain)
	return out, true
}

// blockSize is that of the key's cipher.
func (k managementKey) blockSize() int {
	if k.algorithm == algTDES {
		return des.BlockSize
	}
	return aes.BlockSize
}

// authenticateManager is GENERAL AUTHENTICATE with the management key (SP
// 800-73-4 part 2, appendix A.1 and A.2): either the caller answers a challenge,
// or both sides show that they have the key.
func (c *Card) authenticateManager(ctx context.Context, cmd command, in fields) ([]byte, status) {
	k := c.management
	// Algorithm 00 is an old name of three-key 3DES.
	if a := algorithmID(cmd.p1); a != k.algorithm && (a != 0 || k.algorithm != algTDES) {
		return nil, swWrongData
	}
	witness, hasWitness := in.get(tagWitness)
	challenge, hasChallenge := in.get(tagChallenge)
	response, hasResponse := in.get(tagResponse)
	switch {
	case hasWitness && len(witness) == 0:
		witness, ok := k.encrypt(c.newChallenge())
		return dynamicAuthentication(tagWitness, witness), okOr(ok, swWrongData)
	case hasWitness && hasChallenge:
		proof, ok := k.encrypt(challenge)
		if !ok {
			return nil, swWrongData
		}
		sw := c.admitManager(ctx, witness, c.takeChallenge())
		return dynamicAuthentication(tagResponse, proof), sw
	case hasChallenge && len(challenge) == 0:
		return dynamicAuthentication(tagChallenge, c.newChallenge()), swOK
	case hasResponse:
		want, _ := k.encrypt(c.takeChallenge())
		return nil, c.admitManager(ctx, response, want)
	}
	return nil, swWrongData
}

func okOr(ok bool, sw status) status {
	if ok {
		return swOK
	}
	return sw
}

func (c *Card) newChallenge() []byte {
	c.session.challenge = make([]byte, c.management.blockSize())
	_, _ = rand.Read(c.session.challenge) // never fails
	return c.session.challenge
}

// takeChallenge returns the challenge, which serves once.
func (c *Card) takeChallenge() []byte {
	challenge := c.session.challenge
	c.session.challenge = nil
	return challenge
}

// admitManager lets the caller manage the card if what it sent is what it
// should have sent.
func (c *Card) admitManager(ctx context.Context, got, want []byte) status {
	c.session.managed = len(want) > 0 && subtle.ConstantTimeCompare(got, want) == 1 &&
		(c.management.touch == touchNever || c.waitForTouch(ctx))
	return okOr(c.session.managed, swSecurityStatus)
}

// setManagementKey is Yubico's SET MANAGEMENT KEY.
func (c *Card) setManagementKey(cmd command) status {
	touch := map[byte]byte{0xff: touchNever, 0xfe: touchAlways}[cmd.p2]
	switch d := cmd.data; {
	case !c.session.managed:
		return swSecurityStatus
	case cmd.p1 != 0xff || touch == 0:
		return swWrongP1P2
	case len(d) < 3 || d[1] != slotManagement || int(d[2]) != len(d)-3:
		return swWrongData
	case managementKeySize(algorithmID(d[0])) != len(d)-3:
		return swWrongData
	case algorithmID(d[0]) != algTDES && !c.firmware.atLeast(5, 4):
		return swWrongData
	default:
		c.management = managementKey{algorithmID(d[0]), slices.Clone(d[3:]), touch}
		return swOK
	}
}

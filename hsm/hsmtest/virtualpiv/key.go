package virtualpiv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"time"
)

// algorithmID names an algorithm (SP 800-78-4, table 6-2).
type algorithmID byte

// The algorithms that the card knows.
const (
	algTDES    algorithmID = 0x03
	algRSA2048 algorithmID = 0x07
	algAES128  algorithmID = 0x08
	algAES192  algorithmID = 0x0a
	algAES256  algorithmID = 0x0c
	algP256    algorithmID = 0x11
	algP384    algorithmID = 0x14
)

// Slot is the reference of a private key.
type Slot byte

// The slots of SP 800-73-4. Those of retired keys are RetiredFirst to
// RetiredLast.
const (
	Authentication     Slot = 0x9a
	Signature          Slot = 0x9c
	KeyManagement      Slot = 0x9d
	CardAuthentication Slot = 0x9e
	RetiredFirst       Slot = 0x82
	RetiredLast        Slot = 0x95
)

func (s Slot) valid() bool {
	switch s {
	case Authentication, Signature, KeyManagement, CardAuthentication:
		return true
	default:
		return s >= RetiredFirst && s <= RetiredLast
	}
}

// PIN and touch policies of a key, and where it comes from.
const (
	pinNever  = 1
	pinOnce   = 2
	pinAlways = 3

	touchNever  = 1
	touchAlways = 2
	touchCached = 3

	originGenerated = 1
	originImported  = 2
)

// key is a private key with its rules.
type key struct {
	private     crypto.Signer
	pinPolicy   byte
	touchPolicy byte
	origin      byte
	touched     time.Time
}

func (k *key) algorithm() algorithmID {
	switch priv := k.private.(type) {
	case *ecdsa.PrivateKey:
		if priv.Curve == elliptic.P384() {
			return algP384
		}
		return algP256
	default:
		return algRSA2048
	}
}

// publicFields encodes the public key as GENERATE answers it (SP 800-73-4
// part 2, 3.3.2).
func (k *key) publicFields() []byte {
	switch pub := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			return nil
		}
		return tlv(0x86, point)
	case *rsa.PublicKey:
		exponent := big.NewInt(int64(pub.E)).Bytes()
		return append(tlv(0x81, pub.N.Bytes()), tlv(0x82, exponent)...)
	default:
		return nil
	}
}

func curveOf(a algorithmID) elliptic.Curve {
	switch a {
	case algP256:
		return elliptic.P256()
	case algP384:
		return elliptic.P384()
	default:
		return nil
	}
}

func newPrivateKey(a algorithmID) (crypto.Signer, bool) {
	var priv crypto.Signer
	var err error
	switch a {
	case algP256, algP384:
		priv, err = ecdsa.GenerateKey(curveOf(a), rand.Reader)
	case algRSA2048:
		priv, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return nil, false
	}
	return priv, err == nil
}

// newKey gives a private key the rules that a command asks for, or those of its
// slot.
func newKey(slot Slot, priv crypto.Signer, origin byte, in fields) (*key, bool) {
	pin, ok := policy(in, 0xaa, defaultPINPolicy(slot), pinAlways)
	if !ok {
		return nil, false
	}
	touch, ok := policy(in, 0xab, touchNever, touchCached)
	if !ok {
		return nil, false
	}
	return &key{private: priv, pinPolicy: pin, touchPolicy: touch, origin: origin}, true
}

// policy reads a policy; zero, or none, stands for the default.
func policy(in fields, tag, byDefault, greatest byte) (byte, bool) {
	v, ok := in.get(tag)
	switch {
	case !ok:
		return byDefault, true
	case len(v) != 1 || v[0] > greatest:
		return 0, false
	case v[0] == 0:
		return byDefault, true
	}
	return v[0], true
}

func defaultPINPolicy(slot Slot) byte {
	switch slot {
	case Signature:
		return pinAlways
	case CardAuthentication:
		return pinNever
	default:
		return pinOnce
	}
}

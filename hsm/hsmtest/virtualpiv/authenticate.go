package virtualpiv

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"time"
)

// Tags of the dynamic authentication template (SP 800-73-4 part 2, table 7).
const (
	tagTemplate  = 0x7c
	tagWitness   = 0x80
	tagChallenge = 0x81
	tagResponse  = 0x82
	tagExponent  = 0x85
)

// cachedTouch is how long a touch serves a key whose policy is "cached".
const cachedTouch = 15 * time.Second

func dynamicAuthentication(tag uint16, value []byte) []byte {
	return tlv(tagTemplate, tlv(tag, value))
}

// generalAuthenticate is GENERAL AUTHENTICATE (3.2.4): it uses a key.
func (c *Card) generalAuthenticate(ctx context.Context, cmd command) ([]byte, status) {
	in, ok := parseTemplate(cmd.data, tagTemplate)
	if !ok {
		return nil, swWrongData
	}
	if cmd.p2 == slotManagement {
		return c.authenticateManager(ctx, cmd, in)
	}
	k := c.keys[Slot(cmd.p2)]
	if k == nil || k.algorithm() != algorithmID(cmd.p1) {
		return nil, swWrongData
	}
	if !c.allowed(ctx, k) {
		return nil, swSecurityStatus
	}
	result, ok := k.use(in)
	if !ok {
		return nil, swWrongData
	}
	return dynamicAuthentication(tagResponse, result), swOK
}

// allowed reports whether PIN and touch policy let the key be used now. Someone
// who has not shown the PIN is not asked for a touch, and a touch that does not
// come looks like a PIN that did not.
func (c *Card) allowed(ctx context.Context, k *key) bool {
	fresh := c.session.pinFresh
	c.session.pinFresh = false
	if k.pinPolicy == pinOnce && !c.session.pinVerified || k.pinPolicy == pinAlways && !fresh {
		return false
	}
	if k.touchPolicy == touchNever || k.touchPolicy == touchCached && time.Since(k.touched) < cachedTouch {
		return true
	}
	if !c.waitForTouch(ctx) {
		return false
	}
	k.touched = time.Now()
	return true
}

// use signs a challenge, or agrees on a secret with a point.
func (k *key) use(in fields) ([]byte, bool) {
	if input, ok := in.get(tagChallenge); ok {
		return k.sign(input)
	}
	if point, ok := in.get(tagExponent); ok {
		return k.agree(point)
	}
	return nil, false
}

// sign signs a digest that is no longer than the curve's numbers, or applies
// the RSA key to a padded block.
func (k *key) sign(input []byte) ([]byte, bool) {
	switch priv := k.private.(type) {
	case *ecdsa.PrivateKey:
		if len(input) == 0 || len(input) > priv.Params().BitSize/8 {
			return nil, false
		}
		signature, err := priv.Sign(rand.Reader, input, crypto.Hash(0))
		return signature, err == nil
	case *rsa.PrivateKey:
		block := new(big.Int).SetBytes(input)
		if len(input) != priv.Size() || block.Cmp(priv.N) >= 0 {
			return nil, false
		}
		return block.Exp(block, priv.D, priv.N).FillBytes(make([]byte, priv.Size())), true
	}
	return nil, false
}

func (k *key) agree(point []byte) ([]byte, bool) {
	priv, ok := k.private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, false
	}
	own, err := priv.ECDH()
	if err != nil {
		return nil, false
	}
	peer, err := own.Curve().NewPublicKey(point)
	if err != nil {
		return nil, false
	}
	shared, err := own.ECDH(peer)
	return shared, err == nil
}

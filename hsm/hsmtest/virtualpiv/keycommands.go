package virtualpiv

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"
)

// generateKey is GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.2). What
// was in the slot is gone.
func (c *Card) generateKey(cmd command) ([]byte, status) {
	slot := Slot(cmd.p2)
	if sw := c.mayChange(cmd.p1, slot); sw != swOK {
		return nil, sw
	}
	in, ok := parseTemplate(cmd.data, 0xac)
	if !ok {
		return nil, swWrongData
	}
	algorithm, ok := in.get(0x80)
	if !ok || len(algorithm) != 1 {
		return nil, swWrongData
	}
	priv, ok := newPrivateKey(algorithmID(algorithm[0]))
	if !ok {
		return nil, swWrongData
	}
	k, ok := newKey(slot, priv, originGenerated, in)
	if !ok {
		return nil, swWrongData
	}
	c.keys[slot] = k
	return tlv(0x7f49, k.publicFields()), swOK
}

// mayChange says whether a command may put a key into a slot.
func (c *Card) mayChange(p1 byte, slot Slot) status {
	switch {
	case !c.session.managed:
		return swSecurityStatus
	case p1 != 0 || !slot.valid():
		return swWrongP1P2
	}
	return swOK
}

// importKey is Yubico's IMPORT ASYMMETRIC KEY.
func (c *Card) importKey(cmd command) status {
	slot := Slot(cmd.p2)
	if sw := c.mayChange(0, slot); sw != swOK {
		return sw
	}
	in, ok := parseFields(cmd.data)
	if !ok {
		return swWrongData
	}
	priv, ok := parsePrivateKey(algorithmID(cmd.p1), in)
	if !ok {
		return swWrongData
	}
	k, ok := newKey(slot, priv, originImported, in)
	if !ok {
		return swWrongData
	}
	c.keys[slot] = k
	return swOK
}

func parsePrivateKey(a algorithmID, in fields) (crypto.Signer, bool) {
	if a == algRSA2048 {
		return parseRSA(in)
	}
	secret, ok := in.get(0x06)
	if !ok || curveOf(a) == nil {
		return nil, false
	}
	priv, err := ecdsa.ParseRawPrivateKey(curveOf(a), secret)
	return priv, err == nil
}

// parseRSA makes a key of its primes. The exponent is always 65537, and the
// other numbers in the command follow.
func parseRSA(in fields) (crypto.Signer, bool) {
	p, hasP := in.get(0x01)
	q, hasQ := in.get(0x02)
	if !hasP || !hasQ {
		return nil, false
	}
	one := big.NewInt(1)
	primes := []*big.Int{new(big.Int).SetBytes(p), new(big.Int).SetBytes(q)}
	n := new(big.Int).Mul(primes[0], primes[1])
	phi := new(big.Int).Mul(new(big.Int).Sub(primes[0], one), new(big.Int).Sub(primes[1], one))
	priv := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), phi),
		Primes:    primes,
	}
	ok := n.BitLen() == 2048 && priv.D != nil && priv.Validate() == nil
	return priv, ok
}

// moveKey is Yubico's MOVE KEY: from the slot of P2 to that of P1, or away.
func (c *Card) moveKey(cmd command) status {
	const away = 0xff
	from, to := Slot(cmd.p2), Slot(cmd.p1)
	switch {
	case !c.session.managed:
		return swSecurityStatus
	case !from.valid() || to != away && !to.valid() || len(cmd.data) > 0:
		return swWrongP1P2
	case c.keys[from] == nil:
		return swReferenceNotFound
	case to != away && c.keys[to] != nil:
		return swConditions
	}
	if to != away {
		c.keys[to] = c.keys[from]
	}
	delete(c.keys, from)
	return swOK
}

// metadata is Yubico's GET METADATA, of a key, the PIN or the PUK.
func (c *Card) metadata(cmd command) ([]byte, status) {
	if cmd.p1 != 0 {
		return nil, swWrongP1P2
	}
	switch cmd.p2 {
	case referencePIN:
		return c.pin.metadata(), swOK
	case referencePUK:
		return c.puk.metadata(), swOK
	case slotManagement:
		return c.management.metadata(), swOK
	}
	k := c.keys[Slot(cmd.p2)]
	if k == nil {
		return nil, swReferenceNotFound
	}
	return k.metadata(), swOK
}

// Tags of metadata.
const (
	metadataAlgorithm = 0x01
	metadataPolicy    = 0x02
	metadataOrigin    = 0x03
	metadataPublic    = 0x04
	metadataFactory   = 0x05
	metadataTries     = 0x06
)

func (r *reference) metadata() []byte {
	return bytes.Join([][]byte{
		tlv(metadataAlgorithm, []byte{0xff}),
		tlv(metadataFactory, yes(r.factory)),
		tlv(metadataTries, []byte{byte(r.tries), byte(r.left)}),
	}, nil)
}

func (k managementKey) metadata() []byte {
	return bytes.Join([][]byte{
		tlv(metadataAlgorithm, []byte{byte(k.algorithm)}),
		tlv(metadataPolicy, []byte{0, k.touch}),
		tlv(metadataFactory, yes(bytes.Equal(k.value, factoryManagementValue()))),
	}, nil)
}

func (k *key) metadata() []byte {
	return bytes.Join([][]byte{
		tlv(metadataAlgorithm, []byte{byte(k.algorithm())}),
		tlv(metadataPolicy, []byte{k.pinPolicy, k.touchPolicy}),
		tlv(metadataOrigin, []byte{k.origin}),
		tlv(metadataPublic, k.publicFields()),
	}, nil)
}

func yes(b bool) []byte {
	if b {
		return []byte{1}
	}
	return []byte{0}
}

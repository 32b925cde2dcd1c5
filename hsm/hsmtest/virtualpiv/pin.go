package virtualpiv

// The key references of PIN and PUK.
const (
	referencePIN = 0x80
	referencePUK = 0x81
)

// verify is VERIFY (SP 800-73-4 part 2, 3.2.1). Without data it asks whether
// the PIN is needed.
func (c *Card) verify(cmd command) status {
	switch {
	case cmd.p2 != referencePIN:
		return swReferenceNotFound
	case cmd.p1 == 0xff && len(cmd.data) == 0:
		c.forgetPIN()
		return swOK
	case cmd.p1 != 0:
		return swWrongP1P2
	case len(cmd.data) == 0 && c.session.pinVerified:
		return swOK
	case len(cmd.data) == 0:
		return c.pin.state()
	case len(cmd.data) != referenceSize:
		return swWrongData
	}
	sw := c.pin.check(cmd.data)
	c.session.pinVerified, c.session.pinFresh = sw == swOK, sw == swOK
	return sw
}

func (c *Card) forgetPIN() { c.session.pinVerified, c.session.pinFresh = false, false }

// changeReference is CHANGE REFERENCE DATA (3.2.2), of the PIN or the PUK.
func (c *Card) changeReference(cmd command) status {
	var ref *reference
	switch {
	case cmd.p1 == 0 && cmd.p2 == referencePIN:
		ref = &c.pin
	case cmd.p1 == 0 && cmd.p2 == referencePUK:
		ref = &c.puk
	default:
		return swReferenceNotFound
	}
	sw := replace(ref, ref, cmd.data)
	if ref == &c.pin && sw != swOK {
		c.forgetPIN()
	}
	return sw
}

// resetRetryCounter is RESET RETRY COUNTER (3.2.3): the PUK gives a new PIN.
func (c *Card) resetRetryCounter(cmd command) status {
	if cmd.p1 != 0 || cmd.p2 != referencePIN {
		return swReferenceNotFound
	}
	return replace(&c.pin, &c.puk, cmd.data)
}

// replace sets a reference to the second half of data, if the first half is
// what the guard asks for.
func replace(ref, guard *reference, data []byte) status {
	if len(data) != 2*referenceSize || !wellFormed(data[referenceSize:]) {
		return swWrongData
	}
	sw := guard.check(data[:referenceSize])
	if sw == swOK {
		ref.set(data[referenceSize:])
	}
	return sw
}

// setRetries is Yubico's SET PIN RETRIES. It makes PIN and PUK those of the
// factory again.
func (c *Card) setRetries(cmd command) status {
	switch {
	case !c.session.managed || !c.session.pinVerified:
		return swSecurityStatus
	case cmd.p1 == 0 || cmd.p2 == 0:
		return swWrongData
	}
	c.pin, c.puk = newReference(factoryPIN), newReference(factoryPUK)
	c.pin.tries, c.pin.left = int(cmd.p1), int(cmd.p1)
	c.puk.tries, c.puk.left = int(cmd.p2), int(cmd.p2)
	c.forgetPIN()
	return swOK
}

// factoryReset is Yubico's RESET, for a card whose PIN and PUK are blocked.
func (c *Card) factoryReset() status {
	if c.pin.left > 0 || c.puk.left > 0 {
		return swConditions
	}
	c.resetToFactory()
	return swOK
}

package virtualpiv

import (
	"crypto"
	"encoding/binary"
	"slices"
	"testing"
)

// What a test may do to a card, and see of it, that no program can.

// Exchange is one command that reached the card, with its answer.
type Exchange struct {
	Command  []byte
	Response []byte
}

// Instruction is the command's.
func (x Exchange) Instruction() Instruction {
	if len(x.Command) < 2 {
		return 0
	}
	return Instruction(x.Command[1])
}

// Status is the status word of the answer.
func (x Exchange) Status() uint16 { return binary.BigEndian.Uint16(x.Response[len(x.Response)-2:]) }

// Log returns what the card was sent since it was made or ClearLog was called,
// PINs included.
func (c *Card) Log() []Exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// ClearLog forgets what the card was sent.
func (c *Card) ClearLog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = nil
}

// Count returns how many commands with this instruction are in the log.
func (c *Card) Count(ins Instruction) int {
	n := 0
	for _, x := range c.Log() {
		if x.Instruction() == ins {
			n++
		}
	}
	return n
}

// PINsSent counts the VERIFY commands in the Log that carry a PIN.
func (c *Card) PINsSent() int {
	n := 0
	for _, x := range c.Log() {
		if x.Instruction() == Verify && len(x.Command) > 5 {
			n++
		}
	}
	return n
}

// Serial is the serial number printed on the card.
func (c *Card) Serial() uint32 { return c.serial }

// Personalize gives the card, at once, what its owner would give it. The
// management key keeps its algorithm if it has the length for it; else the
// length says which AES it is.
func (c *Card) Personalize(tb testing.TB, pin, puk string, managementKey []byte) {
	tb.Helper()
	if !wellFormed(pad(pin)) || !wellFormed(pad(puk)) {
		tb.Fatal("PIN and PUK of a card have 6 to 8 characters")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	algorithm, ok := c.algorithmFor(managementKey)
	if !ok {
		tb.Fatalf("a card of firmware %s takes no management key of %d bytes", c.firmware, len(managementKey))
	}
	c.pin.set(pad(pin))
	c.puk.set(pad(puk))
	c.management.algorithm, c.management.value = algorithm, slices.Clone(managementKey)
}

func (c *Card) algorithmFor(managementKey []byte) (algorithmID, bool) {
	for _, a := range []algorithmID{c.management.algorithm, algAES128, algAES192, algAES256} {
		if managementKeySize(a) == len(managementKey) {
			return a, a == algTDES || c.firmware.atLeast(5, 4)
		}
	}
	return 0, false
}

// PINTriesLeft is how many wrong PINs in a row the card still takes.
func (c *Card) PINTriesLeft() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pin.left
}

// PUKTriesLeft is how many wrong PUKs in a row the card still takes.
func (c *Card) PUKTriesLeft() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.puk.left
}

// PublicKey returns the public half of the key in a slot, or nil.
func (c *Card) PublicKey(slot Slot) crypto.PublicKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[slot]
	if k == nil {
		return nil
	}
	return k.private.Public()
}

// Object returns what is in a data object, e.g. 0x5fc109, or nil.
func (c *Card) Object(id uint32) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.objects[objectID(id)])
}

// pull is a hand that takes the card out at one command.
type pull struct {
	when pullTime
	ins  Instruction
}

type pullTime int

const (
	pullBefore pullTime = iota + 1
	pullAfter
)

// strikes reports whether the hand is at it now; it is so once.
func (p *pull) strikes(when pullTime, raw []byte) bool {
	if p.when != when || len(raw) < 2 || Instruction(raw[1]) != p.ins {
		return false
	}
	*p = pull{}
	return true
}

// PullBefore pulls the card out at the next command with this instruction,
// which it never sees. Reader.Insert puts it back.
func (c *Card) PullBefore(ins Instruction) { c.setPull(pullBefore, ins) }

// PullAfter pulls the card out when it has executed the next command with this
// instruction, and before it can answer.
func (c *Card) PullAfter(ins Instruction) { c.setPull(pullAfter, ins) }

func (c *Card) setPull(when pullTime, ins Instruction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pull = pull{when, ins}
}

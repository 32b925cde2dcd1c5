package virtualpiv

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// Card is a virtual PIV card. It is a testenv.Card. Its methods may be called
// at any time, also while a program uses the card.
type Card struct {
	firmware firmware
	serial   uint32
	hasPIV   bool
	ca       *CA
	identity identity

	mu         sync.Mutex
	pin, puk   reference
	management managementKey
	keys       map[Slot]*key
	objects    map[objectID][]byte
	session    session
	touch      touch
	log        []Exchange
	pull       pull
}

// Option makes a card other than the default.
type Option func(tb testing.TB, c *Card)

// WithFirmware makes a card of that version, e.g. "5.4.3", which is the
// default. What a card can do depends on it.
func WithFirmware(version string) Option {
	return func(tb testing.TB, c *Card) {
		tb.Helper()
		var err error
		if c.firmware, err = parseFirmware(version); err != nil {
			tb.Fatal(err)
		}
	}
}

// WithSerial makes a card with that serial number. The default is random.
func WithSerial(n uint32) Option {
	return func(_ testing.TB, c *Card) { c.serial = n }
}

// WithCA makes a card of that vendor. By default each card has one of its own.
func WithCA(ca *CA) Option {
	return func(_ testing.TB, c *Card) { c.ca = ca }
}

// WithoutPIV makes a card that knows no application, as a bank's or a health
// insurance's looks to us.
func WithoutPIV() Option {
	return func(_ testing.TB, c *Card) { c.hasPIV = false }
}

// WithTouchTimeout sets how long the card waits for a touch, 15 s by default.
func WithTouchTimeout(d time.Duration) Option {
	return func(_ testing.TB, c *Card) { c.touch.timeout = d }
}

// New makes a card as it leaves the factory: PIN 123456, PUK 12345678, and a
// management key that everybody knows.
func New(tb testing.TB, opts ...Option) *Card {
	tb.Helper()
	c := &Card{
		firmware: firmware{5, 4, 3},
		serial:   10_000_000 + rand.Uint32N(10_000_000),
		hasPIV:   true,
		touch:    touch{timeout: 15 * time.Second, touched: touchedAtOnce},
	}
	for _, opt := range opts {
		opt(tb, c)
	}
	if c.ca == nil {
		c.ca = NewCA(tb)
	}
	c.identity = c.ca.issueIdentity(tb, c)
	c.resetToFactory()
	return c
}

// resetToFactory is what the RESET command does. The attestation key stays.
func (c *Card) resetToFactory() {
	c.pin = newReference(factoryPIN)
	c.puk = newReference(factoryPUK)
	c.management = factoryManagementKey(c.firmware)
	c.keys = map[Slot]*key{}
	c.objects = map[objectID][]byte{
		objectDiscovery:   discoveryObject(),
		objectAttestation: certificateObject(c.identity.certificate.Raw),
	}
	c.session = session{application: c.session.application}
}

// ATR is that of a YubiKey 5. It offers the protocol T=1 and no other, and ends
// in the name, by which middleware knows what it has to do with.
func (*Card) ATR() []byte {
	atr := []byte{0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57}
	return append(atr, "YubiKey\x40"...)
}

// Reset takes the card's power away and gives it back: no application is
// selected and nobody authenticated.
func (c *Card) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{}
}

// Transmit answers one command. It answers nothing when the card has been
// pulled by PullBefore or PullAfter. While the card waits for a touch the call
// waits too, until the context ends.
func (c *Card) Transmit(ctx context.Context, raw []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pull.strikes(pullBefore, raw) {
		return nil
	}
	answer := c.answer(ctx, raw)
	c.log = append(c.log, Exchange{slices.Clone(raw), answer})
	if c.pull.strikes(pullAfter, raw) {
		return nil
	}
	return answer
}

func (c *Card) answer(ctx context.Context, raw []byte) []byte {
	cmd, err := parseCommand(raw)
	if err != nil {
		return swWrongLength.bytes()
	}
	data, sw := c.session.run(cmd, func(cmd command) ([]byte, status) { return c.execute(ctx, cmd) })
	return append(slices.Clone(data), sw.bytes()...)
}

package testenv

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// readerName is the driver's part of the name; pcscd appends the numbers of
// reader and slot. yubico-piv-tool looks for "Yubikey" in it.
const readerName = "Virtual YubiKey"

// Reader is one of the two card readers of a PCSCD.
type Reader struct {
	pcscd *PCSCD
	slot  int

	mu     sync.Mutex
	card   Card
	unplug context.CancelFunc // of the connection that is served
	served chan struct{}      // closed when it has ended

	powered atomic.Int64 // when the card's power last came or went, in Unix nanoseconds
}

// Name is what programs know the reader by.
func (r *Reader) Name() string { return fmt.Sprintf("%s 00 %02d", readerName, r.slot) }

// Insert puts a card into the reader, in the place of one that was in it, and
// returns when programs can use it. It takes up to a second: the daemon polls.
func (r *Reader) Insert(card Card) {
	r.pcscd.tb.Helper()
	// A daemon that did not see the old card go would take the new one for it,
	// and not power it up.
	r.Remove()
	r.mu.Lock()
	r.card = card
	r.mu.Unlock()
	r.settle()
	// The daemon may take the power from a card that it has just seen, and give
	// it again, with a program already in the middle of its commands.
	Eventually(r.pcscd.tb, "pcscd leaves the card in "+r.Name()+" alone", func() bool {
		return time.Since(time.Unix(0, r.powered.Load())) > calm
	})
}

// calm is how long pcscd must have done nothing to the power of a card.
const calm = 60 * time.Millisecond

// poweredCard tells the reader when its power comes and goes.
type poweredCard struct {
	Card
	reader *Reader
}

func (c poweredCard) Reset() {
	c.reader.powered.Store(time.Now().UnixNano())
	c.Card.Reset()
}

// settle connects the card, unless it is, and waits until it can be used.
func (r *Reader) settle() {
	r.pcscd.tb.Helper()
	if r.waiting() && !r.connect() {
		r.pcscd.tb.Fatalf("pcscd takes no card in %s", r.Name())
	}
	Eventually(r.pcscd.tb, "a card is in "+r.Name(), r.HasCard)
}

// Remove takes the card out of the reader and returns when the daemon has seen
// it. Without a card it does nothing.
func (r *Reader) Remove() {
	r.pcscd.tb.Helper()
	r.Pull()
	Eventually(r.pcscd.tb, "no card is in "+r.Name(), func() bool {
		state, err := r.state()
		return err != nil || state.empty()
	})
}

// Pull takes the card out and does not wait until the daemon has seen it.
func (r *Reader) Pull() {
	r.mu.Lock()
	r.card = nil
	r.mu.Unlock()
	r.disconnect()
}

// HasCard reports whether programs can use a card in the reader.
func (r *Reader) HasCard() bool {
	state, err := r.state()
	return err == nil && state.usable()
}

func (r *Reader) state() (readerState, error) {
	states, err := readerStates(r.pcscd.Socket())
	return states[r.Name()], err
}

// waiting reports whether there is a card and it is not connected.
func (r *Reader) waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.card != nil && r.unplug == nil
}

// connect connects the reader's card, if the driver listens.
func (r *Reader) connect() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.pcscd.port+r.slot)))
	if err != nil {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	r.unplug, r.served = cancel, ended
	go func(card Card) {
		defer close(ended)
		ServeCard(ctx, conn, card)
	}(poweredCard{r.card, r})
	return true
}

// disconnect ends the card's connection, whichever side has ended it already.
func (r *Reader) disconnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unplug == nil {
		return
	}
	r.unplug()
	<-r.served
	r.unplug = nil
}

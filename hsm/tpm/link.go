package tpm

import (
	"context"
	"fmt"
	"time"

	"countersign/hsm"
	"countersign/internal/secret"
)

// link is the one path to the chip. It gives out turns, connects for them, and
// hangs up when nobody has come for a while. Everything below turn belongs to
// whoever holds the turn.
type link struct {
	target
	password func() (secret.Value, error) // the owner's; nil where nobody gives it
	idle     time.Duration                // keep an unused connection so long
	limit    time.Duration                // let one turn last so long
	quick    time.Duration                // wait so long, for a turn and in it, where nothing is made

	turn     chan struct{} // one token: a lock that a context can stop waiting for
	closed   bool
	wire     wire // nil when not connected
	roots    roots
	held     held
	sessions sessions
	release  *time.Timer
	turns    uint64 // how many there have been
	// noPINIndex says that this chip has once refused to make one.
	noPINIndex bool
}

func newLink(t target) *link {
	return &link{target: t, idle: DefaultIdle, limit: DefaultTimeout, quick: quickTimeout, turn: make(chan struct{}, 1)}
}

var errClosed = fmt.Errorf("%w: closed", hsm.ErrUnavailable)

// ask is do for what makes nothing: a caller without a deadline has an answer
// soon, even where somebody else has the turn and the chip hangs. Whoever sets a
// deadline knows how long a chip with other users is worth waiting for.
func (l *link) ask(ctx context.Context, f func(*chip) error) error {
	if _, set := ctx.Deadline(); !set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.quick, errNoAnswer)
		defer cancel()
	}
	return l.do(ctx, f)
}

// do waits for a turn and runs f with the chip. It connects when needed. Where
// the chip was reset in the middle, f runs a second time: it must leave nothing
// behind when it fails. After any failure but a refused PIN do takes out what it
// had loaded and hangs up, so that the next turn starts from a known state; a
// resource manager, or the sweep at the next connect, removes what is left.
func (l *link) do(ctx context.Context, f func(*chip) error) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.give()
	if l.closed {
		return errClosed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.limit, errNoAnswer)
	defer cancel()
	c := &chip{ctx: ctx, link: l}
	err := l.connect(c)
	if err == nil {
		err = c.resume(f)
	}
	if err != nil && !keepsState(err) {
		c.unload()
		l.drop()
	}
	return explain(err)
}

var errNoAnswer = fmt.Errorf("%w: no answer in time (%w)", hsm.ErrUnavailable, context.DeadlineExceeded)

func (l *link) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting for the TPM: %w", context.Cause(ctx))
	}
	select {
	case l.turn <- struct{}{}:
		l.turns++
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the TPM: %w", context.Cause(ctx))
	}
}

// give ends a turn and starts the clock of the idle connection.
func (l *link) give() {
	if l.release != nil {
		l.release.Stop()
	}
	if l.wire != nil {
		last := l.turns
		l.release = time.AfterFunc(l.idle, func() { l.hangUpAfter(last) })
	}
	<-l.turn
}

// hangUpAfter hangs up unless somebody has had the turn since the last one: that
// one has started the clock again.
func (l *link) hangUpAfter(last uint64) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.turns == last {
		l.leave()
	}
}

// leave takes our objects out of the chip and hangs up.
func (l *link) leave() {
	if l.wire == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(l.limit, 5*time.Second))
	defer cancel()
	(&chip{ctx: ctx, link: l}).unload()
	l.drop()
}

// drop hangs up and forgets what was loaded through the connection.
func (l *link) drop() {
	if l.wire != nil {
		l.wire.hangUp()
	}
	l.wire = nil
	l.roots.disconnected()
	l.held, l.sessions = held{}, sessions{}
}

func (l *link) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.limit)
	defer cancel()
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.give()
	l.closed = true
	l.leave()
	return nil
}

// connect makes sure there is a live connection and, where we alone use the
// TPM, that no leftovers fill its three object and three session slots.
func (l *link) connect(c *chip) error {
	if l.wire != nil && !l.wire.alive() {
		l.drop()
	}
	if l.wire != nil {
		return nil
	}
	w, err := l.dial(c.ctx)
	if err != nil {
		return dialError(c.ctx, err)
	}
	l.wire = w
	if !l.private {
		return nil
	}
	return c.sweep()
}

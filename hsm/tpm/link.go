package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// link is the one path to the chip. It gives out turns, connects for them, and
// hangs up when nobody has come for a while. Everything below turn belongs to
// whoever holds the turn.
type link struct {
	target
	idle  time.Duration // keep an unused connection so long
	limit time.Duration // let one turn last so long

	turn    chan struct{} // one token: a lock that a context can stop waiting for
	closed  bool
	wire    wire // nil when not connected
	roots   roots
	release *time.Timer
}

func newLink(t target) *link {
	return &link{target: t, idle: DefaultIdle, limit: DefaultTimeout, turn: make(chan struct{}, 1)}
}

var errClosed = fmt.Errorf("%w: closed", hsm.ErrUnavailable)

// do waits for a turn and runs f with the chip. It connects when needed. After
// any failure but a refused PIN it hangs up, so that the next turn starts from
// a known state; a resource manager, or the sweep at the next connect, removes
// what was left loaded.
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
		err = f(c)
	}
	if err != nil && !keepsState(err) {
		l.drop()
	}
	return explain(err)
}

var errNoAnswer = fmt.Errorf("%w: no answer in time (%w)", hsm.ErrUnavailable, context.DeadlineExceeded)

var errHungUp = errors.New("an earlier command failed")

func (l *link) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting for the TPM: %w", context.Cause(ctx))
	}
	select {
	case l.turn <- struct{}{}:
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
		l.release = time.AfterFunc(l.idle, l.hangUpIdle)
	}
	<-l.turn
}

// hangUpIdle does nothing when somebody has the turn: that one starts the clock
// again.
func (l *link) hangUpIdle() {
	select {
	case l.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-l.turn }()
	l.leave()
}

// leave takes our object out of the chip and hangs up.
func (l *link) leave() {
	if l.wire == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(l.limit, 5*time.Second))
	defer cancel()
	c := &chip{ctx: ctx, link: l}
	if h := l.roots.loaded(); h != 0 {
		c.flush(h)
	}
	l.drop()
}

// drop hangs up and forgets what was loaded through the connection.
func (l *link) drop() {
	if l.wire != nil {
		l.wire.hangUp()
	}
	l.wire = nil
	l.roots.disconnected()
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

// chip is one turn at the TPM. It is go-tpm's transport for that turn's context.
type chip struct {
	ctx  context.Context //nolint:containedctx // go-tpm's transport has no room for one
	link *link
}

// Send implements transport.TPM. It sends the same bytes again while the TPM
// asks for that (Part 2, 6.6.3: RETRY, YIELDED, TESTING), which leaves session
// nonces as they are. A kernel device does so by itself; a socket does not.
func (c *chip) Send(cmd []byte) ([]byte, error) {
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if c.link.wire == nil {
			return nil, wireError(c.ctx, errHungUp)
		}
		rsp, err := c.link.wire.exchange(c.ctx, cmd)
		if err != nil {
			c.link.drop()
			return nil, wireError(c.ctx, err)
		}
		if !again(rsp) {
			return rsp, nil
		}
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
			return nil, wireError(c.ctx, context.Cause(c.ctx))
		}
	}
}

func again(rsp []byte) bool {
	rc := tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:]))
	return rc == tpm2.TPMRCRetry || rc == tpm2.TPMRCYielded || rc == tpm2.TPMRCTesting
}

// flush takes an object or session out of the chip. Failing is harmless here:
// either the chip has forgotten it, or the connection is lost and with it ours.
func (c *chip) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(c)
}

// undo takes back a half-done change, even when the context or the connection
// has ended meanwhile. A chip that is gone keeps the half-done change.
func (c *chip) undo(f func(*chip) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), min(c.link.limit, 5*time.Second))
	defer cancel()
	again := &chip{ctx: ctx, link: c.link}
	if c.link.connect(again) == nil {
		_ = f(again)
	}
}

// sweep flushes every transient object and session in the chip.
func (c *chip) sweep() error {
	const loadedSessions, savedSessions, transients = 0x02000000, 0x03000000, 0x80000000
	for _, first := range []uint32{transients, loadedSessions, savedSessions} {
		handles, err := c.handles(first)
		if err != nil {
			return fmt.Errorf("look for leftovers: %w", err)
		}
		for _, h := range handles {
			c.flush(h)
		}
	}
	return nil
}

func (c *chip) handles(first uint32) ([]tpm2.TPMHandle, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64,
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	return list.Handle, nil
}

// keepsState reports errors that leave nothing behind in the chip.
func keepsState(err error) bool {
	return errors.Is(err, hsm.ErrWrongPIN) || errors.Is(err, hsm.ErrPINLocked) || errors.Is(err, hsm.ErrPINRequired)
}

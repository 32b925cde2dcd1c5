//go:build cgo

package piv

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"countersign/hsm"
)

// link gives out turns at the card readers. PC/SC blocks in C, where no context
// reaches, so each turn runs in a goroutine of its own: a caller whose context
// ends leaves it behind, and it ends its turn when the card or pcscd answers.
// Thus at most one goroutine is ever left behind.
type link struct {
	limits
	turn    chan struct{} // one token: a lock that a context can stop waiting for
	current atomic.Pointer[visit]
}

func newLink(l limits) *link { return &link{limits: l, turn: make(chan struct{}, 1)} }

// tick is how often somebody who waits looks at what for.
const tick = 100 * time.Millisecond

var errNoAnswer = fmt.Errorf("%w: no answer in time (%w)", hsm.ErrUnavailable, context.DeadlineExceeded)

// visit is one turn.
type visit struct {
	ctx      context.Context //nolint:containedctx // its steps belong to one call
	patience time.Duration
	// gone is closed when the caller has left.
	gone chan struct{}
	wait atomic.Pointer[wait]
	// tidying says that the work is changing the card, and takes that back
	// where the context has ended. It is given grace to do so.
	tidying atomic.Bool
	// undo is run when the work is done and the caller has left even so.
	undo func()
	// last is run at the end of all.
	last func()
}

// grace is how long a caller whose context has ended waits for what it began to
// be taken back.
const grace = 3 * time.Second

// wait is what a visit waits for in C, and what to call it when it lasts.
type wait struct {
	since time.Time
	name  error
}

// do waits for a turn and runs work in it. Where the caller leaves before work
// returns, nobody sees what work has done: it is undone.
func (l *link) do(ctx context.Context, work func(*visit) error) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, errNoAnswer)
	defer cancel()
	v := &visit{ctx: ctx, patience: l.patience, gone: make(chan struct{})}
	l.current.Store(v)
	done := make(chan error)
	go func() {
		defer func() { l.current.Store(nil); <-l.turn }()
		err := work(v)
		select {
		case done <- err:
		case <-v.gone:
			if err == nil && v.undo != nil {
				v.undo()
			}
		}
		if v.last != nil {
			v.last()
		}
	}()
	return v.await(done)
}

func (v *visit) await(done <-chan error) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-v.ctx.Done():
			return v.leave(done)
		case <-ticker.C:
			if err := v.waitsTooLong(); err != nil {
				close(v.gone)
				return err
			}
		}
	}
}

// leave is the way out for a caller whose context has ended.
func (v *visit) leave(done <-chan error) error {
	if v.tidying.Load() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case err := <-done:
			return err
		case <-timer.C:
		}
	}
	close(v.gone)
	return v.ended()
}

// take waits for the turn: as long as the context allows while the card is at
// work for somebody, and not beyond patience behind a turn that is left behind.
func (l *link) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for the token: %w", context.Cause(ctx))
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case l.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for the token: %w", context.Cause(ctx))
		case <-ticker.C:
			if v := l.current.Load(); v != nil && v.left() {
				if err := v.waitsTooLong(); err != nil {
					return err
				}
			}
		}
	}
}

// ended says why the context of a visit did; nil where it did not.
func (v *visit) ended() error {
	if v.ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("using the token: %w", context.Cause(v.ctx))
}

func (v *visit) left() bool {
	select {
	case <-v.gone:
		return true
	default:
		return false
	}
}

// waiting notes that the next call blocks until something happens, and returns
// what to call when it has.
func (v *visit) waiting(name error) (done func()) {
	v.wait.Store(&wait{time.Now(), name})
	return func() { v.wait.Store(nil) }
}

func (v *visit) waitsTooLong() error {
	if w := v.wait.Load(); w != nil && time.Since(w.since) > v.patience {
		return w.name
	}
	return nil
}

// pause waits a moment and reports whether the caller is still there.
func (v *visit) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-v.gone:
		return false
	}
}

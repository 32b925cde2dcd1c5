package agent

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"countersign/agent/audit"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
)

// pinThrottle slows a program down that tries PINs: from the third try on,
// each wrong one makes the next wait longer. The chip's own limit holds all
// the same; this keeps a program from spending all five in a moment.
type pinThrottle struct {
	mu    sync.Mutex
	wrong int
	last  time.Time
}

const (
	freePINs     = 2
	firstPINWait = 2 * time.Second
	maxPINWait   = time.Minute
)

// delay is how long a try at now must still wait.
func (t *pinThrottle) delay(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong < freePINs {
		return 0
	}
	step := min(firstPINWait<<min(t.wrong-freePINs, 10), maxPINWait)
	return max(0, t.last.Add(step).Sub(now))
}

// wait holds a try back until its time.
func (t *pinThrottle) wait(ctx context.Context, pin bool) error {
	d := t.delay(time.Now())
	if !pin || d == 0 {
		return nil
	}
	if upstream.Sleep(ctx, d) != nil {
		return errPINDelayed(d)
	}
	return nil
}

// check refuses a try whose time has not come: of several that waited side by
// side, the first wrong one holds up the others.
func (t *pinThrottle) check() error {
	if d := t.delay(time.Now()); d > 0 {
		return errPINDelayed(d)
	}
	return nil
}

func errPINDelayed(d time.Duration) *ipc.Error {
	return ipc.Errorf(ipc.CodePINDelayed, "wait, and try again", "after several wrong PINs the next try has to wait %v", d.Round(time.Second))
}

// used records what came of a try.
func (t *pinThrottle) used(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.wrong = 0
	case errors.Is(err, hsm.ErrWrongPIN):
		t.wrong++
		t.last = time.Now()
	}
}

// usedPIN notes what came of a try, for a request or for none: for the throttle, and for good where the
// chip refused it.
func (p *profile) usedPIN(request string, err error) {
	p.pins.used(err)
	p.agent.counts.usedPIN(err)
	s := p.get()
	e := audit.Event{Kind: recordWrongPIN, UID: &s.UID, Profile: s.ID, Request: request}
	wrong, counted := errors.AsType[*hsm.PINError](err)
	switch {
	case counted:
		e.Detail = map[string]string{"tries_left": strconv.Itoa(wrong.TriesLeft)}
	case errors.Is(err, hsm.ErrPINLocked):
		// Such a try costs nothing, and comes as often as a program likes.
		if !p.agent.limits.locked.admit(s.UID, BootTime()) {
			return
		}
		e.Kind = recordPINLocked
	default:
		return
	}
	p.agent.note(e)
}

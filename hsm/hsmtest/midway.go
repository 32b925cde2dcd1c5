package hsmtest

import (
	"context"
	"errors"
	"time"

	"countersign/hsm"
)

const (
	// moment is how long a caller waits before it gives up.
	moment = 30 * time.Millisecond
	// promptly is how soon a call must come back once its context has ended.
	promptly = 5 * time.Second
)

func midwayCases() []Case {
	return []Case{
		{"a caller may give up in the middle of each call", "a chip that hangs must not hang the service", (*rig).midwayCanceled},
		{"a deadline ends each call in the middle", "a chip that hangs must not hold a request beyond its life", (*rig).midwayExpired},
		{"all is well once a stalled chip goes on", "an answer that comes too late must not be taken for another's", (*rig).midwayRecovers},
		{"who gives up waiting has spent no try", "a person who closed the prompt has not guessed", (*rig).waitingIsFree},
		{"who gives up waiting does not disturb who signs", "callers do not know of each other", (*rig).waitingDisturbsNobody},
		{"giving up behind a stalled caller is prompt", "a lock that no context breaks makes one hung call hang all", (*rig).waitingEnds},
	}
}

// ends expects a call to end with the error, promptly.
func (r *rig) ends(name string, want error, do func() error) {
	r.Helper()
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			r.Errorf("%s: %v, want %v", name, err, want)
		}
	case <-time.After(promptly):
		r.Fatalf("%s still waits, %v after its caller gave up", name, promptly)
	}
}

// stallable lends a chip that can be stalled.
func (r *rig) stallable() *Chip {
	r.Helper()
	c := r.chip()
	r.need(c.Stall != nil, "it cannot be stalled")
	return c
}

// stall stalls a chip until resume is called, or the case ends.
func (r *rig) stall(c *Chip) (resume func()) {
	resume = c.Stall()
	r.tb.Cleanup(resume)
	return resume
}

// eachMidway makes every call on a stalled chip, with a context that ends.
func (r *rig) eachMidway(want error, ending func() (context.Context, context.CancelFunc)) {
	r.Helper()
	c := r.stallable()
	for _, call := range r.calls(c.Provider) {
		resume := r.stall(c)
		ctx, cancel := ending()
		r.ends(call.name, want, func() error { return call.do(ctx) })
		cancel()
		resume()
		if _, err := c.Provider.Status(r.ctx()); err != nil {
			r.Errorf("Status after a %s that was given up: %v", call.name, err)
		}
	}
}

func (r *rig) midwayCanceled() {
	r.eachMidway(context.Canceled, func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(r.ctx())
		time.AfterFunc(moment, cancel)
		return ctx, cancel
	})
}

func (r *rig) midwayExpired() {
	r.eachMidway(context.DeadlineExceeded, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(r.ctx(), moment)
	})
}

func (r *rig) midwayRecovers() {
	c := r.stallable()
	keys := r.both(c.Provider)
	for pin, key := range keys {
		resume := r.stall(c)
		ctx, cancel := context.WithTimeout(r.ctx(), moment)
		r.ends("Sign", context.DeadlineExceeded, func() error {
			return second(key.Sign(ctx, digest("too late"), auth(pin)))
		})
		cancel()
		resume()
		r.sign(key, pin)
		r.sign(r.open(c.Provider, key.Reference()), pin)
	}
	r.untouched(keys[r.PIN])
}

// queue has one caller sign with the right PIN on a stalled chip, lets others
// come and give up, and returns what became of the first.
func (r *rig) queue(others func(key hsm.Key)) (hsm.Key, error) {
	r.Helper()
	c := r.stallable()
	key := r.create(c.Provider, r.bound(r.PIN))
	resume := r.stall(c)
	first := make(chan error, 1)
	go func() { first <- second(key.Sign(r.ctx(), digest("x"), auth(r.PIN))) }()
	others(key)
	resume()
	select {
	case err := <-first:
		return key, err
	case <-time.After(r.patience()):
		r.Fatalf("a caller still waits for a chip that goes on")
	}
	return key, nil
}

// giveUp signs, and gives up after a moment.
func (r *rig) giveUp(key hsm.Key, pin string) error {
	ctx, cancel := context.WithTimeout(r.ctx(), moment)
	defer cancel()
	return second(key.Sign(ctx, digest("x"), auth(pin)))
}

func (r *rig) waitingIsFree() {
	key, _ := r.queue(func(key hsm.Key) {
		for range 2 {
			r.ends("Sign", context.DeadlineExceeded, func() error { return r.giveUp(key, r.WrongPIN) })
		}
	})
	r.untouched(key)
}

func (r *rig) waitingDisturbsNobody() {
	key, err := r.queue(func(key hsm.Key) {
		for range 5 {
			r.ends("Sign", context.DeadlineExceeded, func() error { return r.giveUp(key, r.PIN) })
		}
	})
	if err != nil {
		r.Errorf("who did not give up: %v", err)
	}
	r.sign(key, r.PIN)
}

// Whoever comes first in the race for the turn, the patient caller has it from
// the second round on.
func (r *rig) waitingEnds() {
	_, err := r.queue(func(key hsm.Key) {
		for range 3 {
			ctx, cancel := context.WithCancel(r.ctx())
			time.AfterFunc(moment, cancel)
			r.ends("Sign", context.Canceled, func() error { return second(key.Sign(ctx, digest("x"), auth(r.PIN))) })
			cancel()
		}
	})
	if err != nil {
		r.Errorf("who did not give up: %v", err)
	}
}

package hsmtest

import (
	"context"
	"errors"
	"time"

	"countersign/hsm"
)

func endedCases() []Case {
	return []Case{
		{"an ended context ends each call", "a service that shuts down must not wait for a card", (*rig).endedEndsCalls},
		{"a deadline that has passed ends each call", "a request that has expired is no longer signed", (*rig).expiredEndsCalls},
		{"an ended context costs no try", "a person who gave up has not guessed", (*rig).endedIsFree},
		{"an ended context leaves nothing behind", "what nobody waits for must not fill the chip", (*rig).endedLeavesNothing},
		{"ended calls do not hurt the next one", "one caller who gives up must not end the service for all", (*rig).endedHurtsNobody},
	}
}

// call is one call of the port, and what it takes to succeed.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// calls lists the whole port over a key behind a PIN, the optional parts too
// where the back end has them. Delete is the last.
func (r *rig) calls(p hsm.Provider) []call {
	r.Helper()
	key, free, reservation := r.create(p, r.bound(r.PIN)), r.create(p, r.free()), r.spentReservation(p)
	list := []call{
		{"Create", func(ctx context.Context) error { return second(p.Create(ctx, r.free())) }},
		{"Create behind a PIN", func(ctx context.Context) error { return second(p.Create(ctx, r.bound(r.PIN))) }},
		{"Open", func(ctx context.Context) error { return second(p.Open(ctx, key.Reference())) }},
		{"Status", func(ctx context.Context) error { return second(p.Status(ctx)) }},
		{"Release", func(ctx context.Context) error { return p.Release(ctx, reservation) }},
		{"Sign", func(ctx context.Context) error { return second(free.Sign(ctx, digest("x"), hsm.Auth{})) }},
		{"Sign with a PIN", func(ctx context.Context) error { return second(key.Sign(ctx, digest("x"), auth(r.PIN))) }},
	}
	if k, ok := key.(hsm.Inspector); ok {
		list = append(list, call{"Inspect", func(ctx context.Context) error { return second(k.Inspect(ctx)) }})
	}
	if p, ok := p.(hsm.Identifier); ok {
		list = append(list, call{"Identify", func(ctx context.Context) error { return second(p.Identify(ctx)) }})
	}
	if p, ok := p.(hsm.Attester); ok {
		list = append(list, call{"Claim", func(ctx context.Context) error { return second(p.Claim(ctx, []hsm.Key{key, free})) }})
	}
	return append(list, call{"Delete", func(ctx context.Context) error { return key.Delete(ctx, r.person(r.PIN)) }})
}

func second[V any](_ V, err error) error { return err }

// spentReservation is one under which nothing is left.
func (r *rig) spentReservation(p hsm.Provider) []byte {
	r.Helper()
	var reservation []byte
	t := r.bound(r.PIN)
	t.Reserve = func(b []byte) error { reservation = b; return nil }
	key, err := p.Create(r.ctx(), t)
	if err != nil {
		r.Fatalf("Create: %v", err)
	}
	if err := key.Delete(r.ctx(), r.person(r.PIN)); err != nil {
		r.Fatalf("Delete: %v", err)
	}
	return reservation
}

func (r *rig) endedEndsCalls() {
	ctx, cancel := context.WithCancel(r.ctx())
	cancel()
	r.allEnd(ctx, context.Canceled)
}

func (r *rig) expiredEndsCalls() {
	ctx, cancel := context.WithTimeout(r.ctx(), -time.Second)
	defer cancel()
	r.allEnd(ctx, context.DeadlineExceeded)
}

func (r *rig) allEnd(ctx context.Context, want error) {
	r.Helper()
	for _, call := range r.calls(r.provider()) {
		if err := call.do(ctx); !errors.Is(err, want) {
			r.Errorf("%s: %v, want %v", call.name, err, want)
		}
	}
}

func (r *rig) endedIsFree() {
	key := r.create(r.provider(), r.bound(r.PIN))
	ctx, cancel := context.WithCancel(r.ctx())
	cancel()
	for range r.Tries + 1 {
		if _, err := key.Sign(ctx, digest("x"), auth(r.WrongPIN)); !errors.Is(err, context.Canceled) {
			r.Errorf("Sign: %v", err)
		}
	}
	r.untouched(key)
}

func (r *rig) endedLeavesNothing() {
	c := r.chip()
	r.need(c.Held != nil, "nobody can look into it")
	before := c.Held()
	for _, when := range []string{"before", "while it is reserved"} {
		ctx, cancel := context.WithCancel(r.ctx())
		t := r.bound(r.PIN)
		t.Reserve = func([]byte) error { cancel(); return nil }
		if when == "before" {
			cancel()
		}
		if key, err := c.Provider.Create(ctx, t); !errors.Is(err, context.Canceled) || key != nil {
			r.Errorf("Create that was given up %s: %v", when, err)
		}
		cancel()
		if after := c.Held(); after != before {
			r.Errorf("Create that was given up %s left %d things in the chip", when, after-before)
		}
	}
}

func (r *rig) endedHurtsNobody() {
	p := r.provider()
	keys := r.both(p)
	ctx, cancel := context.WithCancel(r.ctx())
	cancel()
	for range 3 {
		for pin, key := range keys {
			_, _ = key.Sign(ctx, digest("x"), auth(pin))
			_, _ = p.Open(ctx, key.Reference())
			r.sign(key, pin)
		}
	}
}

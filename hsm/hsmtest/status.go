package hsmtest

import (
	"context"
	"errors"
	"strings"
	"time"

	"countersign/hsm"
)

func statusCases() []Case {
	return []Case{
		{"the status tells what the chip is and where", "a person with two tokens must know which one is meant", (*rig).statusDescribes},
		{"the status tells no secrets", "it is shown to every user of the computer", (*rig).statusTellsNoSecret},
		{"each call names a chip that is absent", "the service says so instead of asking for a PIN", (*rig).absentIsNamed},
		{"an absent chip is told at once", "nobody waits for a token that is at home", (*rig).absentIsPrompt},
		{"a chip that comes back is used again", "nobody restarts a service to go on", (*rig).absentComesBack},
		{"an absent chip costs no try", "a person who pulled the token has not guessed", (*rig).absentIsFree},
		{"a chip is known again after a restart", "an administrator finds the computer that enrolls again", (*rig).identityStays},
		{"two chips are told apart", "or one device takes the place of the other", (*rig).identityDiffers},
	}
}

func (r *rig) statusDescribes() {
	p := r.provider()
	status, err := p.Status(r.ctx())
	if err != nil {
		r.Fatalf("Status: %v", err)
	}
	if status.Where == "" || status.Vendor+status.Model == "" {
		r.Errorf("the status is %+v: want to know what it is and where", status)
	}
	if name := p.Name(); name == "" || name != strings.ToLower(name) {
		r.Errorf("the back end is called %q", name)
	}
	for _, note := range status.Notes {
		if note.Code == "" || note.Text == "" {
			r.Errorf("a note without code or text: %+v", note)
		}
	}
}

func (r *rig) statusTellsNoSecret() {
	p := r.provider()
	r.sign(r.create(p, r.bound(r.PIN)), r.PIN)
	status, err := p.Status(r.ctx())
	if err != nil {
		r.Fatalf("Status: %v", err)
	}
	words := []string{status.Vendor, status.Model, status.Firmware, status.Where}
	for _, note := range status.Notes {
		words = append(words, note.Text, note.Cure)
	}
	if spilled(strings.Join(words, "\n"), r.PIN) {
		r.Errorf("the status tells the PIN: %+v", status)
	}
}

// detachable lends a chip that can be taken away.
func (r *rig) detachable() *Chip {
	r.Helper()
	c := r.chip()
	r.need(c.Detach != nil && c.Attach != nil, "it cannot be taken away")
	return c
}

func (r *rig) absentIsNamed() {
	c := r.detachable()
	calls := r.calls(c.Provider)
	c.Detach()
	for _, call := range calls {
		if err := call.do(r.ctx()); !errors.Is(err, hsm.ErrUnavailable) {
			r.Errorf("%s without a chip: %v, want %v", call.name, err, hsm.ErrUnavailable)
		}
	}
	c.Attach()
}

func (r *rig) absentIsPrompt() {
	c := r.detachable()
	calls := r.calls(c.Provider)
	c.Detach()
	for _, call := range calls {
		ctx, cancel := context.WithTimeout(r.ctx(), 2*time.Second)
		if err := call.do(ctx); errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("%s without a chip still waits after two seconds", call.name)
		}
		cancel()
	}
	c.Attach()
}

func (r *rig) absentComesBack() {
	c := r.detachable()
	keys := r.both(c.Provider)
	for range 3 {
		c.Detach()
		if _, err := c.Provider.Status(r.ctx()); !errors.Is(err, hsm.ErrUnavailable) {
			r.Errorf("Status without a chip: %v", err)
		}
		c.Attach()
		r.recovers(func() error { return second(c.Provider.Status(r.ctx())) })
		for pin, key := range keys {
			r.sign(key, pin)
		}
	}
}

// recovers waits until a call succeeds, five seconds at most.
func (r *rig) recovers(call func() error) {
	r.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err := call(); err != nil; err = call() {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.Fatalf("not usable five seconds after the chip came back: %v", err)
		}
	}
}

func (r *rig) absentIsFree() {
	c := r.detachable()
	key := r.create(c.Provider, r.bound(r.PIN))
	c.Detach()
	for range r.Tries + 1 {
		r.refuse(key, r.WrongPIN, hsm.ErrUnavailable)
	}
	c.Attach()
	r.recovers(func() error { return second(c.Provider.Status(r.ctx())) })
	r.untouched(key)
}

// identity is the chip's name for itself.
func (r *rig) identity(p hsm.Provider) string {
	r.Helper()
	identifier, ok := p.(hsm.Identifier)
	r.need(ok, "the back end does not know it again")
	name, err := identifier.Identify(r.ctx())
	if err != nil || name == "" {
		r.Fatalf("Identify: %q, %v", name, err)
	}
	return name
}

func (r *rig) identityStays() {
	c := r.chip()
	name := r.identity(c.Provider)
	r.remove(r.create(c.Provider, r.bound(r.PIN)))
	if c.Restart != nil {
		c.Restart()
	}
	if again := r.identity(c.Provider); again != name {
		r.Errorf("the chip was %q and is %q", name, again)
	}
}

func (r *rig) identityDiffers() {
	r.need(!r.OneChip, "there is one alone")
	if one, other := r.identity(r.provider()), r.identity(r.provider()); one == other {
		r.Errorf("two chips are both %q", one)
	}
}

package hsmtest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"countersign/hsm"

	"go.uber.org/goleak"
)

func concurrencyCases() []Case {
	return []Case{
		{"many sign with one key", "requests come in together", (*rig).manySign},
		{"many sign with one key behind a PIN", "two prompts may be answered at once", (*rig).manySignWithPIN},
		{"many sign with two keys, each as itself", "the device key serves the connection while the other approves", (*rig).manySignWithTwo},
		{"keys are made while others sign", "a renewal runs beside the service", (*rig).createBesideSign},
		{"keys are opened while others sign", "a restart of one profile is nothing to the other", (*rig).openBesideSign},
		{"keys are deleted while others sign", "one profile is removed and the other goes on", (*rig).deleteBesideSign},
		{"a key is deleted while it signs", "it signs, or it is gone, and nothing else", (*rig).deleteWhileSigning},
		{"a key is deleted by two at once", "a user and an administrator may both mean it", (*rig).deleteByTwo},
		{"wrong PINs at once are each counted", "a race must not give a thief one more guess", (*rig).wrongAtOnce},
		{"the chip is looked at while others sign", "a health check is no outage", (*rig).lookBesideSign},
		{"no goroutine stays behind", "a service runs for months", (*rig).leaksNothing},
	}
}

// together runs n of each function at once and waits for all.
func (r *rig) together(n int, functions ...func()) {
	r.Helper()
	r.soon("one of many callers", func() {
		var all sync.WaitGroup
		for range n {
			for _, f := range functions {
				all.Go(f)
			}
		}
		all.Wait()
	})
}

// signer signs and checks, from whatever goroutine.
func (r *rig) signer(key hsm.Key, pin string) func() {
	return func() { r.signs(key, pin, digest(pin), digest("x")) }
}

func (r *rig) manySign() {
	key := r.create(r.provider(), r.free())
	r.together(16, r.signer(key, ""))
}

func (r *rig) manySignWithPIN() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.together(8, r.signer(key, r.PIN))
	r.untouched(key)
}

func (r *rig) manySignWithTwo() {
	keys := r.both(r.provider())
	r.together(8, r.signer(keys[""], ""), r.signer(keys[r.PIN], r.PIN))
}

func (r *rig) createBesideSign() {
	p := r.provider()
	keys := r.both(p)
	var made atomic.Int32
	r.together(2, r.signer(keys[""], ""), r.signer(keys[r.PIN], r.PIN), func() {
		for pin, t := range map[string]hsm.Template{"": r.free(), r.PIN: r.bound(r.PIN)} {
			if key, err := p.Create(r.ctx(), t); err != nil {
				r.Errorf("Create beside signers: %v", err)
			} else {
				made.Add(1)
				r.signs(key, pin, digest("new"))
				_ = key.Delete(r.ctx(), r.person(r.PIN))
			}
		}
	})
	if made.Load() != 4 {
		r.Errorf("made %d keys, want 4", made.Load())
	}
}

func (r *rig) openBesideSign() {
	p := r.provider()
	keys := r.both(p)
	r.together(4, r.signer(keys[""], ""), r.signer(keys[r.PIN], r.PIN), func() {
		for _, key := range keys {
			if again, err := p.Open(r.ctx(), key.Reference()); err != nil || !same(again.Public(), key.Public()) {
				r.Errorf("Open beside signers: %v, or another key", err)
			}
		}
	})
}

func (r *rig) deleteBesideSign() {
	p := r.provider()
	keys := r.both(p)
	remove := func(t hsm.Template) func() {
		key := r.create(p, t)
		return func() {
			if err := key.Delete(r.ctx(), r.person(r.PIN)); err != nil {
				r.Errorf("Delete beside signers: %v", err)
			}
		}
	}
	r.together(2, r.signer(keys[""], ""), r.signer(keys[r.PIN], r.PIN), remove(r.bound(r.PIN)), remove(r.free()))
}

func (r *rig) deleteWhileSigning() {
	key := r.create(r.provider(), r.bound(r.PIN))
	signs := func() {
		signature, err := key.Sign(r.ctx(), digest("x"), auth(r.PIN))
		if err == nil && !verifies(key.Public(), digest("x"), signature) {
			r.Errorf("a key that is being deleted signed wrongly")
		}
		if err != nil && (signature != nil || !errors.Is(err, hsm.ErrForeignKey)) {
			r.Errorf("a key that is being deleted: %v, want %v", err, hsm.ErrForeignKey)
		}
	}
	r.together(3, signs, signs, func() {
		if err := key.Delete(r.ctx(), r.person(r.PIN)); err != nil {
			r.Errorf("Delete beside its signers: %v", err)
		}
	})
}

func (r *rig) deleteByTwo() {
	p := r.provider()
	for _, key := range r.both(p) {
		r.together(2, func() {
			if err := key.Delete(r.ctx(), r.person(r.PIN)); err != nil {
				r.Errorf("Delete by two: %v", err)
			}
		})
	}
	r.sign(r.create(p, r.bound(r.PIN)), r.PIN)
}

func (r *rig) wrongAtOnce() {
	r.mayLock()
	key := r.create(r.provider(), r.bound(r.PIN))
	var mu sync.Mutex
	var left []int
	var locked int
	r.together(r.Tries+3, func() {
		var refused *hsm.PINError
		signature, err := key.Sign(r.ctx(), digest("x"), auth(r.WrongPIN))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case signature == nil && errors.As(err, &refused):
			left = append(left, refused.TriesLeft)
		case signature == nil && errors.Is(err, hsm.ErrPINLocked):
			locked++
		default:
			r.Errorf("one of many wrong PINs: %v", err)
		}
	})
	slices.Sort(left)
	for want := range r.Tries {
		if len(left) != r.Tries || left[want] != want {
			r.Fatalf("%d wrong PINs at once: tries left %v and %d times locked", r.Tries+3, left, locked)
		}
	}
	r.refuse(key, r.PIN, hsm.ErrPINLocked)
}

func (r *rig) lookBesideSign() {
	p := r.provider()
	keys := r.both(p)
	r.together(4, r.signer(keys[""], ""), r.signer(keys[r.PIN], r.PIN), func() {
		if _, err := p.Status(r.ctx()); err != nil {
			r.Errorf("Status beside signers: %v", err)
		}
		if k, ok := keys[r.PIN].(hsm.Inspector); ok {
			if _, err := k.Inspect(r.ctx()); err != nil {
				r.Errorf("Inspect beside signers: %v", err)
			}
		}
	})
}

func (r *rig) leaksNothing() {
	c := r.chip()
	keys := r.both(c.Provider)
	before := goleak.IgnoreCurrent()
	for pin, key := range keys {
		r.together(4, r.signer(key, pin), func() { _ = r.giveUp(key, pin) })
	}
	if c.Stall != nil {
		resume := r.stall(c)
		for pin, key := range keys {
			_ = r.giveUp(key, pin)
		}
		resume()
	}
	r.sign(keys[""], "")
	if err := goleak.Find(before); err != nil {
		r.Errorf("%v", err)
	}
}

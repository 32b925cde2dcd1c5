package hsmtest_test

import (
	"bytes"
	"context"
	"sync"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/internal/secret"
)

// The shapes that most faults have.

type (
	planting = func(c *crooked, chip *hsmtest.Chip, stop <-chan struct{})
	signing  = func(context.Context, []byte, hsm.Auth) ([]byte, error)
)

// provides makes the back end crooked.
func provides(f func(c *crooked)) planting {
	return func(c *crooked, _ *hsmtest.Chip, _ <-chan struct{}) { f(c) }
}

// bends makes each key crooked.
func bends(f func(k *crookedKey)) planting { return provides(func(c *crooked) { c.bend = f }) }

// signs makes each key sign in another way than the honest one.
func signs(f func(honest signing) signing) planting {
	return bends(func(k *crookedKey) { k.sign = f(k.sign) })
}

// creates changes the template that keys are made of.
func creates(f func(t *hsm.Template)) planting {
	return provides(func(c *crooked) {
		honest := c.create
		c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
			f(&t)
			return honest(ctx, t)
		}
	})
}

// takes changes every PIN that comes in, at Create and at Sign.
func takes(f func(pin []byte) []byte) planting {
	change := func(a *hsm.Auth) { a.PIN = secret.New(f(bytes.Clone(a.PIN.Reveal()))) }
	return func(c *crooked, chip *hsmtest.Chip, stop <-chan struct{}) {
		creates(func(t *hsm.Template) { change(&t.Auth) })(c, chip, stop)
		signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				change(&a)
				return honest(ctx, digest, a)
			}
		})(c, chip, stop)
	}
}

// restarts does something with each key when the chip is started again.
func restarts(f func(k *crookedKey)) planting {
	return func(c *crooked, chip *hsmtest.Chip, _ <-chan struct{}) {
		var keys []*crookedKey
		c.bend = func(k *crookedKey) { keys = append(keys, k) }
		honest := chip.Restart
		chip.Restart = func() {
			honest()
			for _, k := range keys {
				f(k)
			}
		}
	}
}

// opens makes another thing of a reference than the honest one.
func opens(f func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error)) planting {
	return provides(func(c *crooked) {
		honest := c.open
		c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
			return f(func(b []byte) (hsm.Key, error) { return honest(ctx, b) }, reference)
		}
	})
}

// memory is what a back end should not remember.
type memory[V any] struct {
	mu sync.Mutex
	m  map[string]V
}

func (m *memory[V]) put(k []byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[string]V{}
	}
	m.m[string(k)] = v
}

func (m *memory[V]) get(k []byte) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m[string(k)]
}

func (m *memory[V]) all() []V {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []V
	for _, v := range m.m {
		all = append(all, v)
	}
	return all
}

func (m *memory[V]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m = nil
}

func pin(s string) hsm.Auth { return hsm.Auth{PIN: secret.New([]byte(s))} }

// the fixture's own.
const rightPIN, wrongPIN, tries = "493817", "000000", 5

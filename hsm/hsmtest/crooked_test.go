package hsmtest_test

import (
	"context"
	"crypto"
	"errors"

	"countersign/hsm"
)

// crooked is a back end that does what an honest one does, except where one of
// its functions is replaced. Everything it says comes from a real chip.
type crooked struct {
	honest   hsm.Provider
	create   func(context.Context, hsm.Template) (hsm.Key, error)
	open     func(context.Context, []byte) (hsm.Key, error)
	release  func(context.Context, []byte) error
	status   func(context.Context) (hsm.Status, error)
	identify func(context.Context) (string, error)
	claim    func(context.Context, []hsm.Key) (hsm.Claim, error)
	prove    func(context.Context, hsm.Claim, hsm.Challenge, []hsm.Key, hsm.Auth) (hsm.Proof, error)
	// bend, where not nil, makes each key crooked.
	bend func(*crookedKey)
}

// crookedKey is a key of a crooked back end.
type crookedKey struct {
	honest     hsm.Key
	public     func() crypto.PublicKey
	protection func() hsm.Protection
	sign       func(context.Context, []byte, hsm.Auth) ([]byte, error)
	reference  func() []byte
	remove     func(context.Context, hsm.Auth) error
	inspect    func(context.Context) (hsm.Health, error)
}

func newCrooked(p hsm.Provider) *crooked {
	c := &crooked{
		honest: p, create: p.Create, open: p.Open, release: p.Release, status: p.Status,
		identify: p.(hsm.Identifier).Identify,
	}
	c.claim = func(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
		return p.(hsm.Attester).Claim(ctx, straighten(keys))
	}
	c.prove = func(ctx context.Context, claim hsm.Claim, ch hsm.Challenge, keys []hsm.Key, a hsm.Auth) (hsm.Proof, error) {
		return p.(hsm.Attester).Prove(ctx, claim, ch, straighten(keys), a)
	}
	return c
}

// straighten returns the honest keys behind crooked ones.
func straighten(keys []hsm.Key) []hsm.Key {
	honest := make([]hsm.Key, len(keys))
	for i, k := range keys {
		honest[i] = k
		if k, ok := k.(*crookedKey); ok {
			honest[i] = k.honest
		}
	}
	return honest
}

func (c *crooked) key(k hsm.Key, err error) (hsm.Key, error) {
	if err != nil {
		return nil, err
	}
	if k, ok := k.(*crookedKey); ok {
		return k, nil
	}
	bent := &crookedKey{
		honest: k, public: k.Public, protection: k.Protection, sign: k.Sign,
		reference: k.Reference, remove: k.Delete,
		inspect: func(context.Context) (hsm.Health, error) { return hsm.Health{}, errors.New("no inspector") },
	}
	if k, ok := k.(hsm.Inspector); ok {
		bent.inspect = k.Inspect
	}
	if c.bend != nil {
		c.bend(bent)
	}
	return bent, nil
}

func (c *crooked) Name() string { return c.honest.Name() }

func (c *crooked) Create(ctx context.Context, t hsm.Template) (hsm.Key, error) {
	return c.key(c.create(ctx, t))
}

func (c *crooked) Open(ctx context.Context, reference []byte) (hsm.Key, error) {
	return c.key(c.open(ctx, reference))
}

func (c *crooked) Release(ctx context.Context, b []byte) error { return c.release(ctx, b) }

func (c *crooked) Status(ctx context.Context) (hsm.Status, error) { return c.status(ctx) }

func (c *crooked) Identify(ctx context.Context) (string, error) { return c.identify(ctx) }

func (c *crooked) Claim(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
	return c.claim(ctx, keys)
}

func (c *crooked) Prove(ctx context.Context, claim hsm.Claim, ch hsm.Challenge, keys []hsm.Key, a hsm.Auth) (hsm.Proof, error) {
	return c.prove(ctx, claim, ch, keys, a)
}

func (k *crookedKey) Public() crypto.PublicKey { return k.public() }

func (k *crookedKey) Protection() hsm.Protection { return k.protection() }

func (k *crookedKey) Sign(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
	return k.sign(ctx, digest, a)
}

func (k *crookedKey) Reference() []byte { return k.reference() }

func (k *crookedKey) Delete(ctx context.Context, a hsm.Auth) error { return k.remove(ctx, a) }

func (k *crookedKey) Inspect(ctx context.Context) (hsm.Health, error) { return k.inspect(ctx) }

// bound reports whether the key takes a PIN.
func (k *crookedKey) bound() bool { return k.honest.Protection().Counter != hsm.CounterNone }

package hsmtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"slices"

	"countersign/hsm"
)

func createCases() []Case {
	return []Case{
		{"a new key of no given algorithm is on P-256", "certificates and servers are made for ES256 unless somebody asks", (*rig).newKeyIsP256},
		{"no two keys are the same", "two profiles with one key could be told to be one person", (*rig).newKeysDiffer},
		{"RS256 works or is refused", "some servers take only RSA, and a key of another kind than asked for fails there", (*rig).newRSAKey},
		{"unknown algorithms are refused", "what is asked for and not made must not be made differently", (*rig).newUnknownAlgorithm},
		{"a touch is refused without a sensor", "a key that was to take a touch must not sign silently", (*rig).newTouchKey},
		{"a key behind a PIN takes one to make", "a key bound to the empty PIN is bound to nothing", (*rig).newKeyWantsPIN},
		{"PINs of impossible length make no key", "a PIN that is cut or padded is another PIN", (*rig).newKeyPINLength},
		{"the shortest and the longest PIN work", "limits that are off by one lock people out", (*rig).newKeyPINLimits},
		{"a PIN does not bind a key that is to be free", "the device key signs while nobody is there", (*rig).newKeyIsFree},
		{"a refused key leaves nothing behind", "a chip that fills up with failures takes no more keys", (*rig).refusedKeyLeavesNothing},
		{"a token checks its PIN before it makes a key", "who cannot use the token must not fill it", (*rig).newKeyChecksPIN},
		{"protection says what is so", "the user and the server are told what stands between key and thief", (*rig).protection},
	}
}

func (r *rig) newKeyIsP256() {
	p := r.provider()
	for _, algorithm := range []hsm.Algorithm{"", hsm.ES256} {
		t := r.free()
		t.Algorithm = algorithm
		pub, ok := r.create(p, t).Public().(*ecdsa.PublicKey)
		if !ok || pub.Curve != elliptic.P256() {
			r.Fatalf("algorithm %q made a key of type %T", algorithm, pub)
		}
	}
}

func (r *rig) newKeysDiffer() {
	p := r.provider()
	var seen []hsm.Key
	for _, t := range []hsm.Template{r.free(), r.free(), r.bound(r.PIN), r.bound(r.PIN)} {
		key := r.create(p, t)
		if slices.ContainsFunc(seen, func(k hsm.Key) bool { return same(k.Public(), key.Public()) }) {
			r.Errorf("two new keys are one")
		}
		seen = append(seen, key)
	}
}

func (r *rig) newRSAKey() {
	p := r.provider()
	for pin, t := range map[string]hsm.Template{"": r.free(), r.PIN: r.bound(r.PIN)} {
		t.Algorithm = hsm.RS256
		if !slices.Contains(r.Algorithms, hsm.RS256) {
			r.refuseTemplate(p, t, hsm.ErrUnsupported)
			continue
		}
		key := r.create(p, t)
		pub, ok := key.Public().(*rsa.PublicKey)
		if !ok || pub.N.BitLen() != 2048 {
			r.Fatalf("made a %T, want an RSA key of 2048 bits", key.Public())
		}
		r.sign(key, pin)
		r.sign(r.open(p, key.Reference()), pin)
	}
}

func (r *rig) newUnknownAlgorithm() {
	p := r.provider()
	for _, algorithm := range []hsm.Algorithm{"none", "HS256", "ES384", "PS256", "es256", "ES256 "} {
		t := r.free()
		t.Algorithm = algorithm
		r.refuseTemplate(p, t, hsm.ErrUnsupported)
	}
}

func (r *rig) newTouchKey() {
	r.need(!r.Touch, "it has a sensor")
	p := r.provider()
	for _, t := range []hsm.Template{r.free(), r.bound(r.PIN)} {
		t.Touch = true
		r.refuseTemplate(p, t, hsm.ErrUnsupported)
	}
}

func (r *rig) newKeyWantsPIN() {
	t := r.bound("")
	t.Auth = auth("")
	r.refuseTemplate(r.provider(), t, hsm.ErrPINRequired)
}

func (r *rig) newKeyPINLength() {
	p := r.provider()
	for _, n := range []int{1, r.MinPIN - 1, r.MaxPIN + 1, 4 * r.MaxPIN} {
		r.refuseTemplate(p, r.bound(sevens(n)), hsm.ErrBadPIN)
	}
}

func (r *rig) newKeyPINLimits() {
	r.need(r.AnyPIN, "its PIN is given")
	p := r.provider()
	for _, n := range []int{r.MinPIN, r.MaxPIN} {
		r.sign(r.create(p, r.bound(sevens(n))), sevens(n))
	}
}

func (r *rig) newKeyIsFree() {
	t := r.free()
	t.Auth = r.person(r.PIN)
	r.sign(r.create(r.provider(), t), "")
}

func (r *rig) refusedKeyLeavesNothing() {
	c := r.chip()
	r.need(c.Held != nil, "nobody can look into it")
	before := c.Held()
	none, unknown := r.bound(sevens(r.MinPIN-1)), r.bound(r.PIN)
	unknown.Algorithm = "ES384"
	for _, t := range []hsm.Template{none, unknown} {
		if _, err := c.Provider.Create(r.ctx(), t); err == nil {
			r.Errorf("made a key of %+v", t)
		}
	}
	if after := c.Held(); after != before {
		r.Errorf("refused keys left %d things in the chip", after-before)
	}
}

func (r *rig) newKeyChecksPIN() {
	r.need(r.SharedPIN, "each key has a PIN of its own")
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	r.refuseTemplate(p, r.bound(r.WrongPIN), hsm.ErrWrongPIN)
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
}

func (r *rig) protection() {
	p := r.provider()
	for pin, key := range r.both(p) {
		want := hsm.Protection{}
		if pin != "" {
			want.Counter = r.Counter
		}
		if got := key.Protection(); got != want {
			r.Errorf("with PIN %q: a new key says %+v, want %+v", pin, got, want)
		}
		if got := r.open(p, key.Reference()).Protection(); got != want {
			r.Errorf("with PIN %q: the reopened key says %+v, want %+v", pin, got, want)
		}
	}
}

// refuseTemplate expects that no such key is made.
func (r *rig) refuseTemplate(p hsm.Provider, t hsm.Template, want error) {
	r.Helper()
	key, err := p.Create(r.ctx(), t)
	if !errors.Is(err, want) || key != nil {
		r.Errorf("Create of a %s key: got key %v and error %v, want %v", t.Algorithm, key, err, want)
	}
}

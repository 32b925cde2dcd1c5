package hsmtest

import (
	"bytes"
	"errors"

	"countersign/hsm"
)

func reservationCases() []Case {
	return []Case{
		{"a reservation comes before anything that lasts", "what a crash leaves and nobody knows of stays for ever", (*rig).reserveComesFirst},
		{"a key that cannot be reserved is not made", "who cannot write down what to clean up must not begin", (*rig).reserveFails},
		{"no reservation is made for a refused key", "a note to clean up what never was could hit another's", (*rig).reserveNotForRefused},
		{"each key has a reservation of its own", "cleaning up after one must not remove the other", (*rig).reserveDiffers},
		{"releasing removes what a lost Create left", "or each crash takes room until there is none", (*rig).releaseOrphan},
		{"releasing twice is no error", "a caller that crashed in between does it again", (*rig).releaseTwice},
		{"releasing removes nothing else", "cleaning up must never cost somebody a key", (*rig).releaseOnlyItsOwn},
		{"releasing where nothing is left does nothing", "most crashes come before or after", (*rig).releaseNothing},
		{"releasing garbage hurts nobody", "notes get damaged", (*rig).releaseGarbage},
		{"a reservation holds no PIN", "it is stored in the clear", (*rig).reserveHoldsNoPIN},
	}
}

// reserved makes a key behind a PIN, and returns its reservation too.
func (r *rig) reserved(p hsm.Provider, pin string) (key hsm.Key, reservation []byte) {
	r.Helper()
	t := r.bound(pin)
	t.Reserve = func(b []byte) error { reservation = bytes.Clone(b); return nil }
	key = r.create(p, t)
	if len(reservation) == 0 {
		r.Fatalf("Create has reserved nothing")
	}
	return key, reservation
}

// The power is cut at the moment of the reservation, so that nobody can take
// back what was done before.
func (r *rig) reserveComesFirst() {
	c := r.chip()
	r.need(c.Held != nil, "nobody can look into it")
	r.need(c.Detach != nil && c.Attach != nil, "it cannot be taken away")
	before := c.Held()
	t := r.bound(r.PIN)
	reserved := false
	t.Reserve = func([]byte) error {
		if !reserved {
			c.Detach()
		}
		reserved = true
		return nil
	}
	_, err := c.Provider.Create(r.ctx(), t)
	if !reserved {
		r.Fatalf("Create has reserved nothing")
	}
	c.Attach()
	if !errors.Is(err, hsm.ErrUnavailable) {
		r.Errorf("Create on a chip that went away: %v", err)
	}
	if after := c.Held(); after != before {
		r.Errorf("%d things were in the chip before they were reserved", after-before)
	}
}

func (r *rig) reserveFails() {
	c := r.chip()
	full := errors.New("disk full")
	t := r.bound(r.PIN)
	t.Reserve = func([]byte) error { return full }
	before := 0
	if c.Held != nil {
		before = c.Held()
	}
	if key, err := c.Provider.Create(r.ctx(), t); !errors.Is(err, full) || key != nil {
		r.Errorf("Create that could not reserve: got key %v and error %v", key != nil, err)
	}
	if c.Held != nil && c.Held() != before {
		r.Errorf("Create that could not reserve left something in the chip")
	}
	r.sign(r.create(c.Provider, r.bound(r.PIN)), r.PIN)
}

func (r *rig) reserveNotForRefused() {
	p := r.provider()
	short, unknown := r.bound(sevens(r.MinPIN-1)), r.bound(r.PIN)
	unknown.Algorithm = "ES384"
	for _, t := range []hsm.Template{short, unknown} {
		t.Reserve = func([]byte) error { r.Errorf("reserved for a key that is refused"); return nil }
		if _, err := p.Create(r.ctx(), t); err == nil {
			r.Errorf("made a key that should be refused")
		}
	}
}

func (r *rig) reserveDiffers() {
	p := r.provider()
	_, one := r.reserved(p, r.PIN)
	_, other := r.reserved(p, r.PIN)
	if bytes.Equal(one, other) {
		r.Errorf("two keys have one reservation")
	}
}

// release cleans up after a Create that never came to an end. A chip that takes
// a person for that says so first.
func (r *rig) release(p hsm.Provider, reservation []byte) {
	r.Helper()
	err := p.Release(r.ctx(), reservation)
	if r.ByPerson && err != nil {
		if !errors.Is(err, hsm.ErrPINRequired) && !errors.Is(err, hsm.ErrAdminRequired) {
			r.Errorf("Release without a person: %v, want %v or %v", err, hsm.ErrPINRequired, hsm.ErrAdminRequired)
		}
		reclaimer, ok := p.(hsm.Reclaimer)
		r.need(ok, "it lets only a person remove things, and there is no way to bring one")
		err = reclaimer.Reclaim(r.ctx(), reservation, r.person(r.PIN))
	}
	if err != nil {
		r.Fatalf("Release: %v", err)
	}
}

func (r *rig) releaseOrphan() {
	c := r.chip()
	before := 0
	if c.Held != nil {
		before = c.Held()
	}
	lost, reservation := r.reserved(c.Provider, r.PIN)
	r.release(c.Provider, reservation)
	if c.Held != nil && c.Held() != before {
		r.Errorf("something is left after Release")
	}
	if _, err := c.Provider.Open(r.ctx(), lost.Reference()); !errors.Is(err, hsm.ErrForeignKey) {
		r.Errorf("Open of what was released: %v", err)
	}
	r.refuse(lost, r.PIN, hsm.ErrForeignKey)
}

func (r *rig) releaseTwice() {
	p := r.provider()
	_, reservation := r.reserved(p, r.PIN)
	other := r.create(p, r.bound(r.PIN))
	r.release(p, reservation)
	r.release(p, reservation)
	r.sign(other, r.PIN)
}

func (r *rig) releaseOnlyItsOwn() {
	p := r.provider()
	before := r.both(p)
	_, reservation := r.reserved(p, r.PIN)
	after := r.both(p)
	r.release(p, reservation)
	for pin := range before {
		r.sign(before[pin], pin)
		r.sign(after[pin], pin)
		r.sign(r.open(p, after[pin].Reference()), pin)
	}
}

func (r *rig) releaseNothing() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	var reservation []byte
	t := r.bound(r.PIN)
	t.Reserve = func(b []byte) error { reservation = bytes.Clone(b); return errors.New("no") }
	if _, err := p.Create(r.ctx(), t); err == nil {
		r.Errorf("Create that could not reserve is no error")
	}
	for _, nothing := range [][]byte{reservation, r.spentReservation(p)} {
		if err := p.Release(r.ctx(), nothing); err != nil {
			r.Errorf("Release where nothing is left: %v", err)
		}
	}
	r.untouched(key)
}

func (r *rig) releaseGarbage() {
	p := r.provider()
	keys := r.both(p)
	_, reservation := r.reserved(p, r.PIN)
	garbage := [][]byte{
		nil,
		{},
		{0},
		[]byte("garbage"), make([]byte, 4096), reservation[:len(reservation)/2],
		append(bytes.Clone(reservation), "more"...), keys[r.PIN].Reference(),
	}
	for i := range reservation {
		flipped := bytes.Clone(reservation)
		flipped[i] ^= 0x10
		garbage = append(garbage, flipped)
	}
	for _, b := range garbage {
		_ = p.Release(r.ctx(), b) // whether it is an error does not matter
	}
	for pin, key := range keys {
		r.sign(key, pin)
		r.sign(r.open(p, key.Reference()), pin)
	}
}

func (r *rig) reserveHoldsNoPIN() {
	pin := r.PIN
	if r.AnyPIN {
		pin = "a long PIN that cannot be there by chance"
	}
	if _, reservation := r.reserved(r.provider(), pin); bytes.Contains(reservation, []byte(pin)) {
		r.Errorf("the reservation holds the PIN")
	}
}

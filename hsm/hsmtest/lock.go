package hsmtest

import "countersign/hsm"

func lockCases() []Case {
	return []Case{
		{"wrong PINs lock after the promised number", "a PIN of six digits is worth what the number of tries is worth", (*rig).lockCounts},
		{"a locked key refuses the right PIN", "or a thief goes on and only looks for another answer", (*rig).lockIsForRight},
		{"a locked key stays locked when opened again", "or a thief restarts the service", (*rig).lockSurvivesOpen},
		{"a locked key stays locked through a restart", "or a thief pulls the plug", (*rig).lockSurvivesRestart},
		{"tries stay spent through a restart", "or a thief pulls the plug one try earlier", (*rig).triesSurviveRestart},
		{"tries stay spent when the key is opened again", "or a thief restarts the service one try earlier", (*rig).triesSurviveOpen},
		{"restarts lock nobody out", "a flat battery is not a guess", (*rig).restartsAreFree},
		{"a locked key locks no other", "one person's mistakes take nothing from another", (*rig).lockIsAlone},
		{"a locked token locks all its keys", "a thief must not have three tries per key", (*rig).lockIsShared},
		{"a key without PIN works beside a locked one", "the device must still be able to say that it is locked", (*rig).lockLeavesFree},
	}
}

// locked lends a key that has no tries left.
func (r *rig) locked() (*Chip, hsm.Key) {
	r.Helper()
	r.mayLock()
	c := r.chip()
	key := r.create(c.Provider, r.bound(r.PIN))
	r.sign(key, r.PIN)
	r.lock(key)
	return c, key
}

func (r *rig) lockCounts() {
	_, key := r.locked()
	r.refuse(key, r.WrongPIN, hsm.ErrPINLocked)
}

func (r *rig) lockIsForRight() {
	_, key := r.locked()
	for range r.Tries + 1 {
		r.refuse(key, r.PIN, hsm.ErrPINLocked)
	}
}

func (r *rig) lockSurvivesOpen() {
	c, key := r.locked()
	r.refuse(r.open(c.Provider, key.Reference()), r.PIN, hsm.ErrPINLocked)
	r.refuse(r.open(c.Provider, key.Reference()), r.WrongPIN, hsm.ErrPINLocked)
}

func (r *rig) lockSurvivesRestart() {
	c, key := r.locked()
	r.need(c.Restart != nil, "its power cannot be cut")
	c.Restart()
	r.refuse(key, r.PIN, hsm.ErrPINLocked)
	r.refuse(r.open(c.Provider, key.Reference()), r.PIN, hsm.ErrPINLocked)
}

// restartable lends a key behind a PIN in a chip whose power can be cut.
func (r *rig) restartable() (*Chip, hsm.Key) {
	r.Helper()
	c := r.chip()
	r.need(c.Restart != nil, "its power cannot be cut")
	return c, r.create(c.Provider, r.bound(r.PIN))
}

func (r *rig) triesSurviveRestart() {
	c, key := r.restartable()
	for left := r.Tries - 1; left > 0; left-- {
		r.miss(key, left)
		c.Restart()
	}
	r.sign(key, r.PIN)
	c.Restart()
	r.untouched(key)
}

func (r *rig) triesSurviveOpen() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	for left := r.Tries - 1; left > 0; left-- {
		r.miss(key, left)
		key = r.open(p, key.Reference())
	}
	r.sign(key, r.PIN)
}

func (r *rig) restartsAreFree() {
	c, key := r.restartable()
	for range r.Tries + 1 {
		r.sign(key, r.PIN)
		c.Restart()
	}
	r.untouched(key)
}

func (r *rig) lockIsAlone() {
	r.need(!r.SharedPIN, "all its keys have one PIN")
	p := r.provider()
	locked, other := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	r.lock(locked)
	r.untouched(other)
	r.untouched(r.create(p, r.bound(r.PIN)))
}

func (r *rig) lockIsShared() {
	r.need(r.SharedPIN, "each key has a PIN of its own")
	r.mayLock()
	p := r.provider()
	one, other := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	r.lock(one)
	r.refuse(other, r.PIN, hsm.ErrPINLocked)
}

func (r *rig) lockLeavesFree() {
	r.mayLock()
	keys := r.both(r.provider())
	r.lock(keys[r.PIN])
	r.sign(keys[""], "")
	r.sign(keys[""], r.PIN)
}

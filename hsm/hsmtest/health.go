package hsmtest

import "countersign/hsm"

func healthCases() []Case {
	return []Case{
		{"a new key has all its tries", "the prompt shows the number before the first PIN", (*rig).healthOfNew},
		{"looking tells what a refusal told", "two numbers for one thing are believed by nobody", (*rig).healthAgrees},
		{"looking costs no try", "a prompt that looks before it asks must not lock", (*rig).healthIsFree},
		{"a locked key is seen to be locked", "nobody types a PIN that cannot help", (*rig).healthOfLocked},
		{"a key without PIN has no tries to tell", "a number that means nothing alarms people", (*rig).healthOfFree},
		{"each key says where it is", "a person who cleans up the chip must find it", (*rig).healthTellsPlace},
		{"a deleted key is not said to be well", "doctor tells who must enroll again", (*rig).healthOfDeleted},
	}
}

// health looks at a key.
func (r *rig) health(key hsm.Key) hsm.Health {
	r.Helper()
	inspector, ok := key.(hsm.Inspector)
	r.need(ok, "its keys do not tell how they stand")
	health, err := inspector.Inspect(r.ctx())
	if err != nil {
		r.Fatalf("Inspect: %v", err)
	}
	return health
}

// left expects a key to tell how many tries it has.
func (r *rig) left(key hsm.Key, want int) {
	r.Helper()
	if health := r.health(key); health.TriesLeft != want {
		r.Errorf("Inspect tells %d tries left, want %d", health.TriesLeft, want)
	} else if want > 0 && !health.LockedUntil.IsZero() {
		r.Errorf("Inspect tells %d tries left, and locked until %v", want, health.LockedUntil)
	}
}

func (r *rig) healthOfNew() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	r.left(key, r.Tries)
	r.left(r.open(p, key.Reference()), r.Tries)
}

func (r *rig) healthAgrees() {
	r.mayLock()
	key := r.create(r.provider(), r.bound(r.PIN))
	r.miss(key, r.Tries-1)
	r.left(key, r.Tries-1)
	r.sign(key, r.PIN)
	r.left(key, r.Tries)
	for left := r.Tries - 1; left >= 0; left-- {
		r.miss(key, left)
		r.left(key, left)
	}
}

func (r *rig) healthIsFree() {
	key := r.create(r.provider(), r.bound(r.PIN))
	for range r.Tries + 1 {
		r.left(key, r.Tries)
	}
	r.miss(key, r.Tries-1)
	r.left(key, r.Tries-1)
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
}

func (r *rig) healthOfLocked() {
	c, key := r.locked()
	r.left(key, 0)
	r.left(r.open(c.Provider, key.Reference()), 0)
}

func (r *rig) healthOfFree() {
	key := r.create(r.provider(), r.free())
	r.left(key, -1)
}

func (r *rig) healthTellsPlace() {
	p := r.provider()
	one, other := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	here, there := r.health(one).Place, r.health(other).Place
	if here == "" || here == there {
		r.Errorf("two keys are in %q and %q", here, there)
	}
	if again := r.health(r.open(p, one.Reference())).Place; again != here {
		r.Errorf("a key in %q is in %q when opened again", here, again)
	}
}

func (r *rig) healthOfDeleted() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.health(key)
	r.remove(key)
	if health, err := key.(hsm.Inspector).Inspect(r.ctx()); err == nil {
		r.Errorf("Inspect of a deleted key tells %+v", health)
	}
}

package hsmtest

import (
	"bytes"
	"errors"

	"countersign/hsm"
	"countersign/internal/secret"
)

func pinCases() []Case {
	return []Case{
		{"the right PIN signs", "or nothing is ever approved", (*rig).pinRight},
		{"no PIN is asked for", "the caller must know that a person is needed", (*rig).pinMissing},
		{"no PIN costs no try", "a prompt that was closed must not bring the lock nearer", (*rig).pinMissingIsFree},
		{"an impossible PIN is told and costs no try", "a slip of the finger that cannot be the PIN is no guess", (*rig).pinImpossible},
		{"a wrong PIN costs one try, and says what is left", "the person decides by that number whether to go on", (*rig).pinWrong},
		{"the right PIN gives the tries back", "or five slips in a year lock", (*rig).pinResets},
		{"the right PIN helps at the last try", "an error by one locks out whoever is careful", (*rig).pinLastTry},
		{"a right PIN does not serve the next call", "a PIN is for one decision that the person saw", (*rig).pinIsNotKept},
		{"a wrong PIN is refused right after the right one", "a session that stays open approves for anybody", (*rig).pinWrongAfterRight},
		{"each PIN opens its own key alone", "one person's PIN must not sign for another", (*rig).pinOfAnother},
		{"tries are counted key by key", "one person's slips take nothing from another", (*rig).pinCountsApart},
		{"one count serves all keys of a token", "a token that counts per key gives a thief more tries than it says", (*rig).pinCountsTogether},
		{"two handles of a key share its count", "opening a key again must not bring fresh tries", (*rig).pinOneCount},
		{"opening a key costs and gives no try", "a service that restarts often neither locks nor unlocks", (*rig).pinOpenIsFree},
		{"a PIN can be changed in place", "a PIN that somebody has seen must be of no more use", (*rig).pinChange},
		{"a PIN is not changed without the old one", "or a thief sets one", (*rig).pinChangeRefused},
	}
}

func (r *rig) pinRight() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.sign(key, r.PIN)
	r.sign(key, r.PIN)
}

func (r *rig) pinMissing() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.refuse(key, "", hsm.ErrPINRequired)
	if _, err := key.Sign(r.ctx(), digest("x"), hsm.Auth{}); !errors.Is(err, hsm.ErrPINRequired) {
		r.Errorf("Sign with the zero Auth: %v", err)
	}
}

func (r *rig) pinMissingIsFree() {
	key := r.create(r.provider(), r.bound(r.PIN))
	for range r.Tries + 1 {
		r.refuse(key, "", hsm.ErrPINRequired)
	}
	r.untouched(key)
}

func (r *rig) pinImpossible() {
	key := r.create(r.provider(), r.bound(r.PIN))
	for _, n := range []int{1, r.MinPIN - 1, r.MaxPIN + 1, 2 * r.MaxPIN, 10 * r.MaxPIN} {
		r.refuse(key, sevens(n), hsm.ErrBadPIN)
	}
	r.untouched(key)
}

func (r *rig) pinWrong() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.miss(key, r.Tries-1)
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
}

func (r *rig) pinResets() {
	key := r.create(r.provider(), r.bound(r.PIN))
	r.miss(key, r.Tries-1)
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
	r.untouched(key)
}

func (r *rig) pinLastTry() {
	key := r.create(r.provider(), r.bound(r.PIN))
	for range 2 {
		for left := r.Tries - 1; left > 0; left-- {
			r.miss(key, left)
		}
		r.sign(key, r.PIN)
	}
}

func (r *rig) pinIsNotKept() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	for range 2 {
		r.sign(key, r.PIN)
		r.refuse(key, "", hsm.ErrPINRequired)
		r.refuse(r.open(p, key.Reference()), "", hsm.ErrPINRequired)
	}
}

func (r *rig) pinWrongAfterRight() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	r.sign(key, r.PIN)
	r.miss(key, r.Tries-1)
	r.sign(key, r.PIN)
	r.miss(r.open(p, key.Reference()), r.Tries-1)
	r.sign(key, r.PIN)
}

func (r *rig) pinOfAnother() {
	r.need(r.AnyPIN, "all its keys have one PIN")
	p := r.provider()
	const other = "another PIN of a person"
	mine, theirs := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(other))
	r.refuse(mine, other, hsm.ErrWrongPIN)
	r.refuse(theirs, r.PIN, hsm.ErrWrongPIN)
	r.sign(mine, r.PIN)
	r.sign(theirs, other)
}

func (r *rig) pinCountsApart() {
	r.need(!r.SharedPIN, "all its keys have one count")
	p := r.provider()
	one, other := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	r.miss(one, r.Tries-1)
	r.miss(one, r.Tries-2)
	r.miss(other, r.Tries-1)
	r.sign(other, r.PIN)
	r.miss(one, r.Tries-3)
}

func (r *rig) pinCountsTogether() {
	r.need(r.SharedPIN, "each key has a count of its own")
	p := r.provider()
	one, other := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	r.miss(one, r.Tries-1)
	r.miss(other, r.Tries-2)
	r.sign(one, r.PIN)
	r.untouched(other)
}

func (r *rig) pinOneCount() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	again := r.open(p, key.Reference())
	r.miss(key, r.Tries-1)
	r.miss(again, r.Tries-2)
	r.sign(key, r.PIN)
	r.untouched(again)
}

func (r *rig) pinOpenIsFree() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	r.miss(key, r.Tries-1)
	for range r.Tries + 1 {
		key = r.open(p, key.Reference())
	}
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
}

// newPIN is one of the chip's kind, and neither the right nor the wrong one.
func (r *rig) newPIN() string { return string(bytes.Repeat([]byte{'8'}, r.MinPIN)) }

func (r *rig) changer(key hsm.Key) hsm.PINChanger {
	r.Helper()
	changer, ok := key.(hsm.PINChanger)
	r.need(ok, "a new PIN takes a new key")
	r.need(!r.OneChip, "the cases that follow know the PIN it has")
	return changer
}

func (r *rig) pinChange() {
	key := r.create(r.provider(), r.bound(r.PIN))
	old, fresh := secret.New([]byte(r.PIN)), secret.New([]byte(r.newPIN()))
	if err := r.changer(key).ChangePIN(r.ctx(), old, fresh); err != nil {
		r.Fatalf("ChangePIN: %v", err)
	}
	r.refuse(key, r.PIN, hsm.ErrWrongPIN)
	r.sign(key, r.newPIN())
}

func (r *rig) pinChangeRefused() {
	key := r.create(r.provider(), r.bound(r.PIN))
	changer, fresh := r.changer(key), secret.New([]byte(r.newPIN()))
	if err := changer.ChangePIN(r.ctx(), secret.New([]byte(r.WrongPIN)), fresh); !errors.Is(err, hsm.ErrWrongPIN) {
		r.Errorf("ChangePIN with a wrong PIN: %v", err)
	}
	r.miss(key, r.Tries-2)
	r.sign(key, r.PIN)
	for _, n := range []int{0, r.MinPIN - 1, r.MaxPIN + 1} {
		err := changer.ChangePIN(r.ctx(), secret.New([]byte(r.PIN)), secret.New([]byte(sevens(n))))
		if !errors.Is(err, hsm.ErrBadPIN) && !errors.Is(err, hsm.ErrPINRequired) {
			r.Errorf("ChangePIN to one of %d bytes: %v", n, err)
		}
	}
	r.untouched(key)
}

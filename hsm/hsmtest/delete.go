package hsmtest

import (
	"errors"

	"countersign/hsm"
)

func deleteCases() []Case {
	return []Case{
		{"deleting twice is no error", "a caller that crashed in between does it again", (*rig).deleteTwice},
		{"deleting hurts no other key", "one profile is removed and the other goes on", (*rig).deleteOthers},
		{"a deleted key behind a PIN opens no more", "who removed a profile expects it to be gone", (*rig).deleteIsTheEnd},
		{"deleting gives the room back", "a chip that fills up takes no more keys", (*rig).deleteGivesBack},
		{"a reopened key can be deleted", "the key was made by a process that is long gone", (*rig).deleteReopened},
		{"deleting costs no try", "who removes one profile has not guessed at another", (*rig).deleteIsFree},
		{"a locked key can be deleted", "or whoever forgot the PIN keeps the key for ever", (*rig).deleteLocked},
	}
}

func (r *rig) remove(key hsm.Key) {
	r.Helper()
	if err := key.Delete(r.ctx(), r.person(r.PIN)); err != nil {
		r.Fatalf("Delete: %v", err)
	}
}

func (r *rig) deleteTwice() {
	p := r.provider()
	for _, key := range r.both(p) {
		r.remove(key)
		r.remove(key)
	}
	r.remove(r.create(p, r.free()))
}

func (r *rig) deleteOthers() {
	p := r.provider()
	before, gone, after := r.both(p), r.both(p), r.both(p)
	for _, key := range gone {
		r.remove(key)
		r.remove(key)
	}
	for pin := range gone {
		r.sign(before[pin], pin)
		r.sign(after[pin], pin)
		r.sign(r.open(p, before[pin].Reference()), pin)
	}
}

func (r *rig) deleteIsTheEnd() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	again := r.open(p, key.Reference())
	r.remove(key)
	if opened, err := p.Open(r.ctx(), key.Reference()); !errors.Is(err, hsm.ErrForeignKey) || opened != nil {
		r.Errorf("Open of a deleted key: %v", err)
	}
	r.refuse(key, r.PIN, hsm.ErrForeignKey)
	r.refuse(again, r.PIN, hsm.ErrForeignKey)
	r.untouched(r.create(p, r.bound(r.PIN)))
	r.refuse(key, r.PIN, hsm.ErrForeignKey)
}

func (r *rig) deleteGivesBack() {
	c := r.chip()
	r.need(c.Held != nil, "nobody can look into it")
	before := c.Held()
	for range 3 {
		for _, key := range r.both(c.Provider) {
			r.remove(key)
		}
	}
	if after := c.Held(); after != before {
		r.Errorf("deleted keys left %d things in the chip", after-before)
	}
}

func (r *rig) deleteReopened() {
	p := r.provider()
	key := r.create(p, r.bound(r.PIN))
	r.remove(r.open(p, key.Reference()))
	r.refuse(key, r.PIN, hsm.ErrForeignKey)
	r.remove(key)
}

func (r *rig) deleteIsFree() {
	p := r.provider()
	key, gone := r.create(p, r.bound(r.PIN)), r.create(p, r.bound(r.PIN))
	r.remove(gone)
	r.remove(gone)
	r.untouched(key)
}

func (r *rig) deleteLocked() {
	r.need(!r.SharedPIN, "it takes the PIN to delete")
	c, key := r.locked()
	r.remove(key)
	if _, err := c.Provider.Open(r.ctx(), key.Reference()); !errors.Is(err, hsm.ErrForeignKey) {
		r.Errorf("Open of a locked and deleted key: %v", err)
	}
}

package hsmtest

import (
	"bytes"
	"errors"

	"countersign/hsm"
)

func mutatedCases() []Case {
	return []Case{
		{"an empty reference is unreadable", "a file that a power cut emptied must be told from a foreign one", (*rig).emptyReference},
		{"garbage is unreadable", "a file of something else must be told from a foreign one", (*rig).garbageReference},
		{"a truncated reference opens nothing else", "disks lose the ends of files", (*rig).truncatedReference},
		{"a reference with more behind is unreadable", "parsers that ignore a rest let two files be one key", (*rig).longerReference},
		{"two references in one are unreadable", "which of the two keys signs must not be left to chance", (*rig).doubledReference},
		{"no flipped bit opens another key", "disks lose bits, and thieves turn them", (*rig).flippedReference},
		{"no byte set to zero opens another key", "disks lose whole bytes too", (*rig).zeroedReference},
	}
}

// unreadable expects bytes to be no reference.
func (r *rig) unreadable(p hsm.Provider, what string, reference []byte) {
	r.Helper()
	if key, err := p.Open(r.ctx(), reference); !errors.Is(err, hsm.ErrBadReference) || key != nil {
		r.Errorf("Open of %s: got key %v and error %v, want %v", what, key != nil, err, hsm.ErrBadReference)
	}
}

func (r *rig) emptyReference() {
	p := r.provider()
	r.unreadable(p, "nil", nil)
	r.unreadable(p, "nothing", []byte{})
}

func (r *rig) garbageReference() {
	p := r.provider()
	for _, garbage := range []string{
		"garbage", "\x00", "\n\n\n", "{}", "\x30\x00", "\x30\x80\x00\x00", "\x30\x84\xff\xff\xff\xff",
		"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
	} {
		r.unreadable(p, "garbage", []byte(garbage))
	}
	r.unreadable(p, "many zeros", make([]byte, 1<<16))
	r.unreadable(p, "many ones", bytes.Repeat([]byte{0xff}, 1<<16))
}

// harmless expects changed bytes to open nothing, or the very key they were
// made of: a blank more at the end of a text changes nothing.
func (r *rig) harmless(p hsm.Provider, key hsm.Key, what string, at int, reference []byte) {
	r.Helper()
	opened, err := p.Open(r.ctx(), reference)
	if err == nil {
		r.isStill(key, opened, what, at)
		return
	}
	if opened != nil {
		r.Fatalf("%s at byte %d: a key and an error: %v", what, at, err)
	}
	if !errors.Is(err, hsm.ErrBadReference) && !errors.Is(err, hsm.ErrForeignKey) {
		r.Fatalf("%s at byte %d: %v, want %v or %v", what, at, err, hsm.ErrBadReference, hsm.ErrForeignKey)
	}
}

// isStill expects a key that was opened by changed bytes to be the one it was,
// and to sign as that or not at all.
func (r *rig) isStill(key, opened hsm.Key, what string, at int) {
	r.Helper()
	if !same(opened.Public(), key.Public()) || opened.Protection() != key.Protection() {
		r.Fatalf("%s at byte %d: opened another key", what, at)
	}
	pin := ""
	if key.Protection().Counter != hsm.CounterNone {
		pin = r.PIN
	}
	signature, err := opened.Sign(r.ctx(), digest("x"), auth(pin))
	if err == nil && !verifies(key.Public(), digest("x"), signature) {
		r.Fatalf("%s at byte %d: another key signed", what, at)
	}
}

func (r *rig) truncatedReference() {
	p := r.provider()
	for _, key := range r.both(p) {
		reference := key.Reference()
		r.unreadable(p, "the first half", reference[:len(reference)/2])
		for n := range len(reference) {
			r.harmless(p, key, "cut", n, reference[:n])
		}
	}
}

func (r *rig) longerReference() {
	p := r.provider()
	for pin, key := range r.both(p) {
		for _, more := range []string{"more", "\x00", "\x30\x00", "-----BEGIN MORE-----\n-----END MORE-----\n"} {
			r.unreadable(p, "a reference with more behind", append(key.Reference(), more...))
		}
		r.sign(key, pin)
	}
}

func (r *rig) doubledReference() {
	p := r.provider()
	keys := r.both(p)
	free, behindPIN := keys[""].Reference(), keys[r.PIN].Reference()
	r.unreadable(p, "a reference twice", bytes.Join([][]byte{free, free}, nil))
	r.unreadable(p, "two references", bytes.Join([][]byte{free, behindPIN}, nil))
	r.unreadable(p, "two references", bytes.Join([][]byte{behindPIN, free}, nil))
}

func (r *rig) flippedReference() {
	p := r.provider()
	for pin, key := range r.both(p) {
		for at := range key.Reference() {
			flipped := key.Reference()
			flipped[at] ^= 1 << (at % 7)
			r.harmless(p, key, "flipped", at, flipped)
			flipped = key.Reference()
			flipped[at] ^= 0x01
			r.harmless(p, key, "flipped", at, flipped)
		}
		r.sign(key, pin)
	}
}

func (r *rig) zeroedReference() {
	p := r.provider()
	for pin, key := range r.both(p) {
		for at := range key.Reference() {
			zeroed := key.Reference()
			zeroed[at] = 0
			r.harmless(p, key, "zeroed", at, zeroed)
			zeroed = key.Reference()
			zeroed[at] = 'A' // a zero, in the letters of base64
			r.harmless(p, key, "zeroed", at, zeroed)
		}
		r.sign(key, pin)
	}
}

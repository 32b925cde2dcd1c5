package hsmtest

import (
	"bytes"
	"crypto/sha256"

	"countersign/hsm"
)

func signCases() []Case {
	return []Case{
		{"a key without PIN signs for the zero Auth", "the device key serves the connection while nobody is there", (*rig).signFree},
		{"signatures verify", "what the chip signs is the evidence", (*rig).signDigests},
		{"digests of all zeros and all ones are signed", "a chip that strips or reduces bytes fails at the rims", (*rig).signExtremes},
		{"a signature is for its digest alone", "evidence for one decision must not fit another", (*rig).signItsDigest},
		{"two signatures of one digest differ", "a nonce that repeats gives an ECDSA key away", (*rig).signFreshNonce},
		{"digests of another size are refused", "a digest that is cut or padded signs something else", (*rig).signDigestSize},
		{"the caller's digest is not changed", "the caller goes on to publish it", (*rig).signLeavesDigest},
		{"keys in turns sign as themselves", "a chip that still holds the last key signs with the wrong one", (*rig).signInTurns},
		{"a hundred signatures leave a hundred more", "a slot that leaks per signature ends a service in an hour", (*rig).signOften},
		{"a PIN means nothing to a key without one", "a caller may not know which key it has, and no try may be spent", (*rig).signFreeWithPIN},
		{"nobody is told to touch without a touch", "a message that is false once is not read again", (*rig).signTellsNoTouch},
	}
}

func (r *rig) signFree() {
	key := r.create(r.provider(), r.free())
	signature, err := key.Sign(r.ctx(), digest("x"), hsm.Auth{})
	if err != nil || !verifies(key.Public(), digest("x"), signature) {
		r.Errorf("Sign with the zero Auth: %v", err)
	}
}

// signs expects every digest to be signed by a key.
func (r *rig) signs(key hsm.Key, pin string, digests ...[]byte) {
	r.Helper()
	for _, d := range digests {
		signature, err := key.Sign(r.ctx(), d, auth(pin))
		if err != nil || !verifies(key.Public(), d, signature) {
			r.Errorf("signature of %x with PIN %q: error %v, or it does not verify", d, pin, err)
		}
	}
}

func (r *rig) signDigests() {
	for pin, key := range r.both(r.provider()) {
		r.signs(key, pin, digest("a"), digest("b"), digest("c"))
	}
}

func (r *rig) signExtremes() {
	zeros, ones := make([]byte, sha256.Size), bytes.Repeat([]byte{0xff}, sha256.Size)
	one, high := append(make([]byte, sha256.Size-1), 1), append([]byte{0x80}, zeros[1:]...)
	for pin, key := range r.both(r.provider()) {
		r.signs(key, pin, zeros, ones, one, high)
	}
}

func (r *rig) signItsDigest() {
	for pin, key := range r.both(r.provider()) {
		signature := r.sign(key, pin)
		if verifies(key.Public(), digest("another decision"), signature) {
			r.Errorf("with PIN %q: the signature is valid for another digest too", pin)
		}
		r.signs(key, pin, digest("another decision"))
	}
}

func (r *rig) signFreshNonce() {
	for pin, key := range r.both(r.provider()) {
		if bytes.Equal(r.sign(key, pin), r.sign(key, pin)) {
			r.Errorf("with PIN %q: two signatures are the same", pin)
		}
	}
}

func (r *rig) signDigestSize() {
	for pin, key := range r.both(r.provider()) {
		for _, n := range []int{0, 1, 20, 31, 33, 48, 64, 4096} {
			signature, err := key.Sign(r.ctx(), make([]byte, n), auth(pin))
			if err == nil || signature != nil {
				r.Errorf("with PIN %q: signed a digest of %d bytes", pin, n)
			}
		}
	}
}

func (r *rig) signLeavesDigest() {
	for pin, key := range r.both(r.provider()) {
		d := digest("a decision")
		r.signs(key, pin, d)
		if !bytes.Equal(d, digest("a decision")) {
			r.Errorf("with PIN %q: Sign changed the digest", pin)
		}
	}
}

func (r *rig) signInTurns() {
	p := r.provider()
	first, second := r.both(p), r.both(p)
	for range 3 {
		for pin := range first {
			r.sign(first[pin], pin)
			r.sign(second[pin], pin)
		}
	}
}

func (r *rig) signOften() {
	p := r.provider()
	for pin, key := range r.both(p) {
		for range 50 {
			r.sign(key, pin)
		}
	}
}

func (r *rig) signFreeWithPIN() {
	keys := r.both(r.provider())
	for range r.Tries + 1 {
		r.sign(keys[""], r.WrongPIN)
	}
	r.untouched(keys[r.PIN])
}

func (r *rig) signTellsNoTouch() {
	for pin, key := range r.both(r.provider()) {
		a := auth(pin)
		a.Touch = func() { r.Errorf("with PIN %q: asked for a touch", pin) }
		if _, err := key.Sign(r.ctx(), digest("x"), a); err != nil {
			r.Errorf("Sign: %v", err)
		}
	}
}

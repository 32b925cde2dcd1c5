package hsmtest

import (
	"errors"
	"strings"

	"countersign/hsm"
)

func pinBytesCases() []Case {
	return []Case{
		{"the beginning of a PIN is not the PIN", "whoever looks over a shoulder sees the first digits", (*rig).pinPrefix},
		{"a PIN with more behind is not the PIN", "what is cut to fit makes many PINs right", (*rig).pinSuffix},
		{"a PIN with a zero byte behind is not the PIN", "chips pad with zeros, and C ends strings there", (*rig).pinZeroBehind},
		{"PINs that differ in a bit are two", "what is folded or hashed badly makes many PINs right", (*rig).pinBits},
		{"PINs of any bytes work", "people type in every script, and zero bytes have been refused before", (*rig).pinAnyBytes},
		{"PINs that differ behind a zero byte are two", "C ends strings there", (*rig).pinBehindZero},
	}
}

// near expects PINs that are nearly the right one to be refused, each on a key
// with all its tries.
func (r *rig) near(pin string, guesses ...string) {
	r.Helper()
	key := r.create(r.provider(), r.bound(pin))
	for _, guess := range guesses {
		signature, err := key.Sign(r.ctx(), digest("x"), auth(guess))
		if signature != nil || !errors.Is(err, hsm.ErrWrongPIN) && !errors.Is(err, hsm.ErrBadPIN) {
			r.Errorf("%q for %q: %v", guess, pin, err)
		}
		r.sign(key, pin)
	}
}

func (r *rig) pinPrefix() {
	r.near(r.PIN, r.PIN[:len(r.PIN)-1], r.PIN[1:])
	if r.AnyPIN {
		long := strings.Repeat("0123456", r.MaxPIN/7)
		r.near(long, long[:len(long)-1], long[1:], long[:len(long)/2], long[:r.MinPIN])
	}
}

func (r *rig) pinSuffix() { r.near(r.PIN, r.PIN+"0", r.PIN+" ", r.PIN+"\n", "0"+r.PIN, " "+r.PIN) }

func (r *rig) pinZeroBehind() {
	r.near(r.PIN, r.PIN+"\x00", r.PIN+"\x00\x00", "\x00"+r.PIN, r.PIN+"\xff", r.PIN+"\xff\xff")
}

func (r *rig) pinBits() {
	var guesses []string
	for i := range len(r.PIN) {
		for bit := range 8 {
			b := []byte(r.PIN)
			b[i] ^= 1 << bit
			guesses = append(guesses, string(b))
		}
	}
	r.near(r.PIN, guesses...)
}

func (r *rig) pinAnyBytes() {
	r.need(r.AnyPIN, "it takes digits alone")
	p := r.provider()
	for _, pin := range []string{
		"\x00\x00\x00\x00\x00\x00", "\x00123456", "123456\x00", "123\x00456", "\xff\xfe\xfd\xfc\xfb\xfa",
		"pässwörd", "密码密码", "тайный код", " 12345 ", "\n\n\n\n\n\n", "-----BEGIN",
	} {
		key := r.create(p, r.bound(pin))
		r.sign(key, pin)
		r.sign(r.open(p, key.Reference()), pin)
		r.miss(key, r.Tries-1)
	}
}

func (r *rig) pinBehindZero() {
	r.need(r.AnyPIN, "it takes digits alone")
	r.near("123456\x00right", "123456\x00wrong", "123456", "123456\x00")
	r.near("\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x01")
}

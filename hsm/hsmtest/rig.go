package hsmtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/internal/secret"
)

// patience is how long a call may take that has nothing to wait for. It is long
// for slow chips and slower machines, and short against a call that hangs. A
// machine's one chip has other users besides.
func (r *rig) patience() time.Duration {
	if r.OneChip {
		return 2 * time.Minute
	}
	return 20 * time.Second
}

// rig is what a case works with.
type rig struct {
	T
	Fixture
	tb testing.TB
}

func (r *rig) ctx() context.Context { return r.tb.Context() }

// chip lends a chip.
func (r *rig) chip() *Chip {
	r.Helper()
	return r.Open(r.tb)
}

// provider lends a chip with which nothing happens but calls.
func (r *rig) provider() hsm.Provider {
	r.Helper()
	return r.chip().Provider
}

// need skips a case for which the chip is not made.
func (r *rig) need(ok bool, what string) {
	r.Helper()
	if !ok {
		r.Skipf("not with this chip: %s", what)
	}
}

// mayLock skips a case that would lock a token which others still need.
func (r *rig) mayLock() {
	r.Helper()
	r.need(!r.OneChip || !r.SharedPIN, "it would be locked for the cases that follow")
}

// auth returns fresh secrets, since a secret's maker owns and wipes it.
func auth(pin string) hsm.Auth { return hsm.Auth{PIN: secret.New([]byte(pin))} }

// person is who stands in front of the chip when keys are made and removed.
func (r *rig) person(pin string) hsm.Auth {
	a := auth(pin)
	if r.SharedPIN && pin == "" {
		a = auth(r.PIN)
	}
	a.Admin = secret.New([]byte(r.Admin))
	return a
}

// bound is a key behind a PIN.
func (r *rig) bound(pin string) hsm.Template {
	return hsm.Template{Auth: r.person(pin), PINBound: true}
}

// free is a key without one.
func (r *rig) free() hsm.Template { return hsm.Template{Auth: r.person("")} }

// create makes a key and, where others use the chip too, removes it at the end.
func (r *rig) create(p hsm.Provider, t hsm.Template) hsm.Key {
	r.Helper()
	key, err := p.Create(r.ctx(), t)
	if err != nil {
		r.Fatalf("Create: %v", err)
	}
	if r.OneChip {
		r.tb.Cleanup(func() { _ = key.Delete(context.WithoutCancel(r.ctx()), r.person(r.PIN)) })
	}
	return key
}

// both makes one key behind the PIN and one without, and returns them by the
// PIN that each takes.
func (r *rig) both(p hsm.Provider) map[string]hsm.Key {
	r.Helper()
	return map[string]hsm.Key{"": r.create(p, r.free()), r.PIN: r.create(p, r.bound(r.PIN))}
}

func (r *rig) open(p hsm.Provider, reference []byte) hsm.Key {
	r.Helper()
	key, err := p.Open(r.ctx(), reference)
	if err != nil {
		r.Fatalf("Open: %v", err)
	}
	return key
}

// sevens is a PIN of n bytes.
func sevens(n int) string { return strings.Repeat("7", n) }

func digest(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}

// verifies reports whether a signature is the key's over the digest.
func verifies(pub crypto.PublicKey, digest, signature []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, signature) == nil
	}
	return false
}

// same reports whether two public keys are one.
func same(a, b crypto.PublicKey) bool {
	known, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && known.Equal(b)
}

// sign signs, checks and returns the signature.
func (r *rig) sign(key hsm.Key, pin string) []byte {
	r.Helper()
	signature, err := key.Sign(r.ctx(), digest("a decision"), auth(pin))
	if err != nil {
		r.Fatalf("Sign: %v", err)
	}
	if !verifies(key.Public(), digest("a decision"), signature) {
		r.Fatalf("the signature does not verify")
	}
	return signature
}

// refuse expects a signature to be refused, and returns the refusal.
func (r *rig) refuse(key hsm.Key, pin string, want error) error {
	r.Helper()
	signature, err := key.Sign(r.ctx(), digest("a decision"), auth(pin))
	if !errors.Is(err, want) || signature != nil {
		r.Fatalf("Sign: got %d bytes and error %v, want %v", len(signature), err, want)
	}
	return err
}

// miss spends one try on a wrong PIN and expects to be told how many are left.
func (r *rig) miss(key hsm.Key, left int) {
	r.Helper()
	var refused *hsm.PINError
	if err := r.refuse(key, r.WrongPIN, hsm.ErrWrongPIN); !errors.As(err, &refused) {
		r.Fatalf("a wrong PIN gave %v, want a *hsm.PINError in it", err)
	} else if refused.TriesLeft != left {
		r.Fatalf("after a wrong PIN: %d tries left, want %d", refused.TriesLeft, left)
	}
}

// lock spends every try.
func (r *rig) lock(key hsm.Key) {
	r.Helper()
	for left := r.Tries - 1; left >= 0; left-- {
		r.miss(key, left)
	}
}

// untouched expects that no try was spent since the last right PIN. It spends
// one and gives it back.
func (r *rig) untouched(key hsm.Key) {
	r.Helper()
	r.miss(key, r.Tries-1)
	r.sign(key, r.PIN)
}

// soon runs f and complains when it does not come back.
func (r *rig) soon(what string, f func()) {
	r.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(r.patience()):
		r.Fatalf("%s does not come back", what)
	}
}

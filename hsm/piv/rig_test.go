//go:build cgo

package piv_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/hsm/piv"
	"countersign/internal/secret"
	"countersign/internal/testenv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

const (
	rightPIN = "493817"
	wrongPIN = "000000"
	rightPUK = "48151623"
	firstOld = "5.4.3" // 3DES, no way to delete a key
	firstNew = "5.7.1" // AES-192, deletes keys
)

// rightAdmin is the management key of the test's tokens.
func rightAdmin() []byte { return bytes.Repeat([]byte{7, 11, 13, 17, 19, 23}, 4) }

func pin(s string) secret.Value { return secret.New([]byte(s)) }

func auth(s string) hsm.Auth { return hsm.Auth{PIN: pin(s)} }

// admin is the person who knows the management key as well.
func admin() hsm.Auth { return hsm.Auth{PIN: pin(rightPIN), Admin: secret.New(rightAdmin())} }

func digest(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}

// newToken makes a card that its owner has taken out of its factory state.
func newToken(t testing.TB, options ...virtualpiv.Option) *virtualpiv.Card {
	t.Helper()
	card := virtualpiv.New(t, options...)
	card.Personalize(t, rightPIN, rightPUK, rightAdmin())
	return card
}

// rig is a token in a reader of a private pcscd.
type rig struct {
	t     testing.TB
	card  *virtualpiv.Card
	pcscd *testenv.PCSCD
	*piv.Provider
}

func newRig(t testing.TB, options ...virtualpiv.Option) *rig {
	t.Helper()
	return rigWith(t, newToken(t, options...))
}

func rigWith(t testing.TB, card *virtualpiv.Card) *rig {
	t.Helper()
	pcscd := testenv.StartPCSCD(t, card)
	pcscd.Use()
	return &rig{t, card, pcscd, piv.Open()}
}

// protect makes the token keep its management key under the PIN, as ykman does.
func (r *rig) protect() {
	r.t.Helper()
	r.withToken(func(yk *yubico.YubiKey) error {
		key := rightAdmin()
		return yk.SetMetadata(key, &yubico.Metadata{ManagementKey: &key})
	})
}

// withToken is another program that uses the token.
func (r *rig) withToken(f func(*yubico.YubiKey) error) {
	r.t.Helper()
	yk, err := yubico.Open(r.pcscd.Reader(0).Name())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(f(yk), yk.Close()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) create(t hsm.Template) hsm.Key {
	r.t.Helper()
	key, err := r.Create(r.t.Context(), t)
	if err != nil {
		r.t.Fatalf("Create: %v", err)
	}
	return key
}

func (r *rig) approval() hsm.Key {
	r.t.Helper()
	return r.create(hsm.Template{Auth: admin(), PINBound: true})
}
func (r *rig) device() hsm.Key { r.t.Helper(); return r.create(hsm.Template{Auth: admin()}) }

func mustSign(t testing.TB, key hsm.Key, auth hsm.Auth) {
	t.Helper()
	signature, err := key.Sign(t.Context(), digest("a decision"), auth)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest("a decision"), signature) {
		t.Fatal("the signature does not verify")
	}
}

// mustBe fails the test unless err is what is wanted.
func mustBe(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// eachFirmware runs a test on tokens that differ in what they can do.
func eachFirmware(t *testing.T, test func(t *testing.T, option virtualpiv.Option)) {
	t.Helper()
	for _, version := range []string{"4.3.5", "5.2.7", firstOld, firstNew} {
		t.Run(version, func(t *testing.T) { test(t, virtualpiv.WithFirmware(version)) })
	}
}

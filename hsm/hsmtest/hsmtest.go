// Package hsmtest is the suite that every back end of hsm passes, run against a
// real chip or one of software. A back end's own test is a few lines:
//
//	func TestConformance(t *testing.T) {
//		hsmtest.Run(t, func(t *testing.T) hsm.Provider { ... })
//	}
package hsmtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/internal/secret"
)

// Run runs the suite. Each call of open returns a Provider on a chip that no
// other call's Provider uses, and ends it with the test.
func Run(t *testing.T, open func(t *testing.T) hsm.Provider) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) hsm.Provider){
		"SignWithoutPIN":        testSignWithoutPIN,
		"SignWithPIN":           testSignWithPIN,
		"PINLengths":            testPINLengths,
		"WrongPINsLock":         testWrongPINsLock,
		"RightPINResetsTries":   testRightPINResetsTries,
		"PINsAreIndependent":    testPINsAreIndependent,
		"ReopenedKeyIsTheSame":  testReopen,
		"ForeignReference":      testForeignReference,
		"UnreadableReference":   testUnreadableReference,
		"ReferenceHoldsNoPIN":   testReferenceHoldsNoPIN,
		"OnlySHA256Digests":     testDigestSize,
		"EndedContext":          testEndedContext,
		"ConcurrentSigners":     testConcurrentSigners,
		"DeleteTwice":           testDelete,
		"CertificateRequest":    testCertificateRequest,
		"StatusDescribesChip":   testStatus,
		"ErrorsNeverHoldThePIN": testErrorsHoldNoPIN,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

const (
	rightPIN = "493817"
	wrongPIN = "000000"
)

// pin returns a fresh secret, since a secret's maker owns and wipes it.
func pin(s string) secret.Value { return secret.New([]byte(s)) }

func auth(s string) hsm.Auth { return hsm.Auth{PIN: pin(s)} }

// bound is a key bound to a PIN, or to none where it is empty.
func bound(s string) hsm.Template { return hsm.Template{Auth: auth(s), PINBound: s != ""} }

func digest(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}

func create(t *testing.T, p hsm.Provider, pinText string) hsm.Key {
	t.Helper()
	key, err := p.Create(t.Context(), bound(pinText))
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return key
}

func public(t *testing.T, key hsm.Key) *ecdsa.PublicKey {
	t.Helper()
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("Public returned a %T, want *ecdsa.PublicKey", key.Public())
	}
	return pub
}

// mustSign signs and verifies.
func mustSign(t *testing.T, key hsm.Key, pinText string) {
	t.Helper()
	sig, err := key.Sign(t.Context(), digest("a decision"), auth(pinText))
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	if !ecdsa.VerifyASN1(public(t, key), digest("a decision"), sig) {
		t.Fatal("the signature does not verify")
	}
}

// mustRefuse expects Sign to fail with the sentinel.
func mustRefuse(t *testing.T, key hsm.Key, pinText string, want error) error {
	t.Helper()
	sig, err := key.Sign(t.Context(), digest("a decision"), auth(pinText))
	if !errors.Is(err, want) || sig != nil {
		t.Fatalf("Sign: got %d bytes and error %v, want %v", len(sig), err, want)
	}
	return err
}

// mustMiss spends one try and expects the chip to say how many are left.
func mustMiss(t *testing.T, key hsm.Key, triesLeft int) {
	t.Helper()
	var pe *hsm.PINError
	if err := mustRefuse(t, key, wrongPIN, hsm.ErrWrongPIN); !errors.As(err, &pe) {
		t.Fatalf("a wrong PIN gave %T, want a *hsm.PINError in it", err)
	} else if pe.TriesLeft != triesLeft {
		t.Fatalf("after a wrong PIN: %d tries left, want %d", pe.TriesLeft, triesLeft)
	}
}

func testSignWithoutPIN(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), "")
	mustSign(t, key, "")
	mustSign(t, key, "")
}

func testSignWithPIN(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), rightPIN)
	mustSign(t, key, rightPIN)
	mustRefuse(t, key, "", hsm.ErrPINRequired)
	mustSign(t, key, rightPIN)
}

func testPINLengths(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	for _, n := range []int{1, hsm.MinPIN - 1, hsm.MaxPIN + 1} {
		if _, err := p.Create(t.Context(), bound(strings.Repeat("7", n))); err == nil {
			t.Errorf("Create took a PIN of %d bytes", n)
		}
	}
	mustSign(t, create(t, p, strings.Repeat("7", hsm.MinPIN)), strings.Repeat("7", hsm.MinPIN))
}

func testWrongPINsLock(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	key := create(t, p, rightPIN)
	for left := 4; left >= 0; left-- {
		mustMiss(t, key, left)
	}
	mustRefuse(t, key, wrongPIN, hsm.ErrPINLocked)
	mustRefuse(t, key, rightPIN, hsm.ErrPINLocked)
	again, err := p.Open(t.Context(), key.Reference())
	if err != nil {
		t.Fatalf("Open of a locked key: %v", err)
	}
	mustRefuse(t, again, rightPIN, hsm.ErrPINLocked)
}

func testRightPINResetsTries(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), rightPIN)
	mustMiss(t, key, 4)
	mustMiss(t, key, 3)
	mustSign(t, key, rightPIN)
	mustMiss(t, key, 4)
}

// One person's mistakes take nothing from another: the locked key must not
// lock the others.
func testPINsAreIndependent(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	locked, device := create(t, p, rightPIN), create(t, p, "")
	other := create(t, p, "another PIN of a person")
	for left := 4; left >= 0; left-- {
		mustMiss(t, locked, left)
	}
	mustSign(t, device, "")
	mustSign(t, other, "another PIN of a person")
}

func testReopen(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	for _, pinText := range []string{"", rightPIN} {
		key := create(t, p, pinText)
		again, err := p.Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if !public(t, again).Equal(key.Public()) {
			t.Error("the reopened key has another public key")
		}
		if !bytes.Equal(again.Reference(), key.Reference()) {
			t.Error("the reopened key has another reference")
		}
		mustSign(t, again, pinText)
	}
}

func testForeignReference(t *testing.T, open func(*testing.T) hsm.Provider) {
	here, there := open(t), open(t)
	for _, pinText := range []string{"", rightPIN} {
		key := create(t, there, pinText)
		if _, err := here.Open(t.Context(), key.Reference()); !errors.Is(err, hsm.ErrForeignKey) {
			t.Errorf("Open of another chip's key: got %v, want %v", err, hsm.ErrForeignKey)
		}
	}
}

func testUnreadableReference(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	good := create(t, p, rightPIN).Reference()
	for name, ref := range map[string][]byte{
		"nothing":       nil,
		"garbage":       []byte("garbage"),
		"cut short":     good[:len(good)/2],
		"more appended": append(bytes.Clone(good), "more"...),
	} {
		if _, err := p.Open(t.Context(), ref); !errors.Is(err, hsm.ErrBadReference) {
			t.Errorf("Open of %s: got %v, want %v", name, err, hsm.ErrBadReference)
		}
	}
}

func testReferenceHoldsNoPIN(t *testing.T, open func(*testing.T) hsm.Provider) {
	const long = "a long PIN that cannot be there by chance"
	if ref := create(t, open(t), long).Reference(); bytes.Contains(ref, []byte(long)) {
		t.Error("the reference holds the PIN")
	}
}

func testDigestSize(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), "")
	for _, n := range []int{0, 20, 31, 33, 64} {
		if _, err := key.Sign(t.Context(), make([]byte, n), auth("")); err == nil {
			t.Errorf("Sign took a digest of %d bytes", n)
		}
	}
}

func testEndedContext(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	key := create(t, p, rightPIN)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, createErr := p.Create(ctx, bound(""))
	_, openErr := p.Open(ctx, key.Reference())
	_, statusErr := p.Status(ctx)
	_, signErr := key.Sign(ctx, digest("x"), auth(rightPIN))
	for call, err := range map[string]error{
		"Create": createErr, "Open": openErr, "Status": statusErr, "Sign": signErr, "Delete": key.Delete(ctx, auth(rightPIN)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: got %v, want %v", call, err, context.Canceled)
		}
	}
	mustSign(t, key, rightPIN)
}

func testConcurrentSigners(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	keys := map[string]hsm.Key{"": create(t, p, ""), rightPIN: create(t, p, rightPIN)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for pinText, key := range keys {
		pub := public(t, key)
		for range 8 {
			wg.Go(func() {
				sig, err := key.Sign(ctx, digest(pinText), auth(pinText))
				if err != nil || !ecdsa.VerifyASN1(pub, digest(pinText), sig) {
					t.Errorf("one of many signers: %v", err)
				}
			})
		}
	}
	wg.Wait()
}

func testDelete(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	for _, pinText := range []string{"", rightPIN} {
		key, other := create(t, p, pinText), create(t, p, pinText)
		for range 2 {
			if err := key.Delete(t.Context(), auth(rightPIN)); err != nil {
				t.Fatalf("Delete: %v", err)
			}
		}
		mustSign(t, other, pinText)
	}
}

func testCertificateRequest(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), rightPIN)
	signer := hsm.Signer(t.Context(), key, auth(rightPIN))
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		t.Fatalf("sign a certificate request: %v", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Errorf("the certificate request does not verify: %v", err)
	}
	if !public(t, key).Equal(csr.PublicKey) {
		t.Error("the certificate request is for another key")
	}
}

func testStatus(t *testing.T, open func(*testing.T) hsm.Provider) {
	p := open(t)
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	if status.Where == "" || p.Name() == "" {
		t.Errorf("Status says %+v of %q: want to know where it is", status, p.Name())
	}
}

func testErrorsHoldNoPIN(t *testing.T, open func(*testing.T) hsm.Provider) {
	key := create(t, open(t), rightPIN)
	const guess = "a guess nobody may log"
	_, err := key.Sign(t.Context(), digest("x"), auth(guess))
	if err == nil || strings.Contains(err.Error(), guess) {
		t.Errorf("a wrong PIN gave %v, want an error without the PIN", err)
	}
}

//go:build cgo

package piv

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// Sign implements hsm.Key. A PIN given to a key without PIN is ignored.
func (k *key) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("piv: sign: digest of %d bytes, want %d", len(digest), sha256.Size)
	}
	if k.bound() {
		if err := checkPIN(auth.PIN); err != nil {
			return nil, fmt.Errorf("piv: sign: %w", err)
		}
	}
	touch := newTouchNotice(k.reference, auth.Touch)
	defer touch.end()
	own, wipe := ownAuth(auth)
	digest = bytes.Clone(digest)
	var signature []byte
	err := k.provider.link.do(ctx, func(v *visit) error {
		v.last = wipe
		return v.withToken(k.serial, func(t *token) (err error) {
			signature, err = t.sign(k.reference, digest, own.PIN, touch)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("piv: sign: %w", err)
	}
	return signature, nil
}

// sign proves the PIN where there is one, and signs. The PIN comes first and in
// a command of its own: a card answers a missing touch and a missing PIN with
// the same word.
func (t *token) sign(r *reference, digest []byte, pin secret.Value, touch *touchNotice) ([]byte, error) {
	slot, err := t.check(r)
	if err != nil {
		return nil, err
	}
	if r.bound() {
		if err := t.verify(pin); err != nil {
			return nil, err
		}
	}
	// With this policy piv-go sends no PIN by itself.
	private, err := t.PrivateKey(slot, r.public, yubico.KeyAuth{PINPolicy: yubico.PINPolicyNever})
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("piv-go has no signer for the key")
	}
	if err := t.visit.ended(); err != nil {
		return nil, err
	}
	touch.start()
	signature, err := signer.Sign(rand.Reader, digest, crypto.SHA256)
	touch.end()
	if isStatus(err, swNotSatisfied) && r.touch == touchAlways {
		return nil, fmt.Errorf("%w: %w", hsm.ErrNoTouch, err)
	}
	if err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(r.public, digest, signature) {
		return nil, errors.New("the token's signature does not verify")
	}
	return signature, nil
}

// verify proves the PIN to the card. A caller who has left spends no try.
func (t *token) verify(pin secret.Value) error {
	if err := t.visit.ended(); err != nil {
		return err
	}
	t.proved = true
	return pinError(t.VerifyPIN(string(pin.Reveal())))
}

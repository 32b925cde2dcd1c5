//go:build cgo

package piv

import (
	"context"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"
)

// boundKey is a key that takes the token's PIN.
type boundKey struct{ *key }

var _ hsm.PINChanger = (*boundKey)(nil)

// ChangePIN implements hsm.PINChanger. The PIN is the token's: it changes for
// all keys on it, those of other programs too. A wrong old PIN spends a try.
func (k *boundKey) ChangePIN(ctx context.Context, old, fresh secret.Value) error {
	err := checkNewPIN(k.serial, old, fresh)
	if err == nil {
		before, wipe := ownAuth(hsm.Auth{PIN: old})
		after, wipeAfter := ownAuth(hsm.Auth{PIN: fresh})
		err = k.provider.link.do(ctx, func(v *visit) error {
			v.last = func() { wipe(); wipeAfter() }
			return v.withToken(k.serial, func(t *token) error { return t.changePIN(k.reference, before.PIN, after.PIN) })
		})
	}
	if err != nil {
		return fmt.Errorf("piv: change the PIN: %w", err)
	}
	return nil
}

func checkNewPIN(serial uint32, old, fresh secret.Value) error {
	if err := checkPIN(old); err != nil {
		return err
	}
	if fresh.Empty() {
		return fmt.Errorf("%w: the new one is empty", hsm.ErrBadPIN)
	}
	if err := checkPIN(fresh); err != nil {
		return fmt.Errorf("the new PIN: %w", err)
	}
	if string(fresh.Reveal()) == factoryPIN {
		return fmt.Errorf("%w: %w", hsm.ErrBadPIN, factoryPINError(serial))
	}
	return nil
}

func (t *token) changePIN(r *reference, old, fresh secret.Value) error {
	if _, err := t.check(r); err != nil {
		return err
	}
	if err := t.visit.ended(); err != nil {
		return err
	}
	t.proved = true
	return pinError(t.SetPIN(string(old.Reveal()), string(fresh.Reveal())))
}

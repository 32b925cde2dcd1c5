//go:build cgo

package piv

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"countersign/hsm"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// token is a token opened for one operation. Nobody else can use it meanwhile.
type token struct {
	*yubico.YubiKey
	found
	visit *visit
	// proved says that the card now knows a PIN or the management key.
	proved bool
}

// withToken lends the token with this serial number, the only one for 0, and
// names what goes wrong with it.
func (v *visit) withToken(serial uint32, f func(*token) error) error {
	where, err := v.find(serial)
	if err != nil {
		return err
	}
	proved, err := v.tryToken(where, f)
	if isReset(err) && !proved {
		_, err = v.tryToken(where, f) // nothing was spent and nothing has changed
	}
	return v.name(where.serial, err)
}

// tryToken reports also whether the card was proved anything.
func (v *visit) tryToken(where found, f func(*token) error) (proved bool, err error) {
	t, err := v.open(where)
	if err != nil {
		return false, err
	}
	defer t.close()
	err = f(t)
	return t.proved, err
}

// open opens the reader in which the token was found. piv-go wants the card for
// itself: another program's short look at it is waited for.
func (v *visit) open(where found) (*token, error) {
	deadline := time.Now().Add(settle)
	for {
		if err := v.ended(); err != nil {
			return nil, err
		}
		t, err := v.openOnce(where)
		if pcscCode(err) != codeSharing || time.Now().After(deadline) || !v.pause(tick/2) {
			return t, err
		}
	}
}

func (v *visit) openOnce(where found) (*token, error) {
	done := v.waiting(errLockedCard)
	yk, err := openExclusively(where.reader)
	done()
	if err != nil {
		return nil, err
	}
	t := &token{YubiKey: yk, found: where, visit: v}
	// Somebody may have exchanged the card since it was found.
	serial, err := yk.Serial()
	if err == nil && serial != where.serial {
		err = fmt.Errorf("%w: token %d; there is %d", hsm.ErrTokenAbsent, where.serial, serial)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// openExclusively is piv.Open without its leak: where the card turns out not to
// be a PIV token, or is pulled in that moment, version 2.6.0 keeps an exclusive
// connection that nobody can close, and the reader would be lost for everybody
// until this process ends. Ending the socket under it frees the reader.
func openExclusively(reader string) (*yubico.YubiKey, error) {
	before := daemonSockets()
	yk, err := yubico.Open(reader)
	if err != nil {
		hangUpSince(before)
	}
	return yk, err
}

// close lets go of the card. What it was proved does not outlive that: selecting
// another application makes it forget while nobody else can reach it, and a card
// without that other application is reset.
func (t *token) close() {
	var err error
	if t.proved {
		_, err = t.FormFactor()
	}
	_ = t.Close() // the card may be gone
	if err != nil && pcscCode(err) == 0 {
		_ = t.visit.withReaders(func(p *pcscContext) error {
			return t.visit.withApplet(p, t.reader, resetCard, func(*applet) error { return nil })
		})
	}
}

// name turns what went wrong with a token into the port's words. In the moment
// a card is pulled pcscd speaks vaguely, so it is asked again.
func (v *visit) name(serial uint32, err error) error {
	if !isVague(err) {
		return explain(err)
	}
	for deadline := time.Now().Add(settle); time.Now().Before(deadline) && v.pause(tick/2); {
		_, now := v.find(serial)
		if errors.Is(now, hsm.ErrTokenAbsent) || errors.Is(now, hsm.ErrNoService) {
			return fmt.Errorf("%w (%w)", now, err)
		}
	}
	return explain(err)
}

// slotKey is the key on P-256 in a slot; nil where there is none that was
// generated there.
func (t *token) slotKey(slot yubico.Slot) (*ecdsa.PublicKey, error) {
	if t.firmware.hasMetadata() {
		info, err := t.KeyInfo(slot)
		if errors.Is(err, yubico.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		key, _ := info.PublicKey.(*ecdsa.PublicKey)
		return key, nil
	}
	c, err := t.Attest(slot)
	if errors.Is(err, yubico.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key, _ := c.PublicKey.(*ecdsa.PublicKey)
	return key, nil
}

// check makes sure that the slot holds the key of the reference.
func (t *token) check(r *reference) (yubico.Slot, error) {
	slot, _ := yubico.RetiredKeyManagementSlot(uint32(r.slot))
	key, err := t.slotKey(slot)
	if err != nil {
		return slot, fmt.Errorf("read the key of %s: %w", r.place(), err)
	}
	return slot, r.compare(key)
}

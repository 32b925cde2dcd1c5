//go:build cgo

package piv

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"countersign/hsm"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// Create implements hsm.Provider. It takes the first free retired slot of the
// token and leaves there, beside the key, a placeholder for its certificate.
func (p *Provider) Create(ctx context.Context, t hsm.Template) (hsm.Key, error) {
	serial, err := checkTemplate(t)
	if err != nil {
		return nil, fmt.Errorf("piv: create a key: %w", err)
	}
	own, wipe := ownAuth(t.Auth)
	t.Auth = own
	var ref *reference
	err = p.link.do(ctx, func(v *visit) (err error) {
		v.last = wipe
		ref, err = v.create(serial, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("piv: create a key: %w", err)
	}
	return p.newKey(ref)
}

func checkTemplate(t hsm.Template) (serial uint32, err error) {
	if t.Algorithm != "" && t.Algorithm != hsm.ES256 {
		return 0, fmt.Errorf("%w: algorithm %s; tokens make keys for ES256 here", hsm.ErrUnsupported, t.Algorithm)
	}
	if t.PINBound || t.KeepAdmin || !t.PIN.Empty() {
		if err := checkPIN(t.PIN); err != nil {
			return 0, err
		}
	}
	return parseSerial(t.Token)
}

// birth is a key in the making: what takes it back is known before it exists.
type birth struct {
	reservation reservation
	admin       []byte
	public      *ecdsa.PublicKey
}

func (v *visit) create(serial uint32, t hsm.Template) (*reference, error) {
	where, err := v.find(serial)
	if err != nil {
		return nil, err
	}
	if !where.firmware.attests() {
		return nil, fmt.Errorf("%w: its firmware %s does not tell which key is in a slot", hsm.ErrUnsupported, where.firmware)
	}
	if err := v.refuseFactory(where, t); err != nil {
		return nil, err
	}
	var b birth
	err = v.withToken(where.serial, func(tok *token) error { return tok.bear(&b, t) })
	if t.KeepAdmin && b.admin != nil {
		v.noteProtectedKey(where.serial, b.admin)
	}
	// A token that is gone keeps the half-done change, and the reservation
	// finds it later.
	v.undo = func() { _ = v.erase(&b.reservation, b.admin) }
	wipe := v.last
	v.last = func() { wipe(); clear(b.admin) }
	if err != nil && b.reservation.nonce != "" {
		v.undo()
	}
	if err != nil {
		return nil, err
	}
	return b.reference(t), nil
}

func (b *birth) reference(t hsm.Template) *reference {
	r := &reference{serial: b.reservation.serial, slot: b.reservation.slot, public: b.public, pin: pinNever, touch: touchNever}
	if t.PINBound {
		r.pin = pinAlways
	}
	if t.Touch {
		r.touch = touchAlways
	}
	return r
}

// bear makes the key. It fills in b as it goes.
func (t *token) bear(b *birth, template hsm.Template) error {
	slot, err := t.freeSlot()
	if err != nil {
		return err
	}
	if b.admin, err = t.authority(template); err != nil {
		return err
	}
	if err := t.visit.ended(); err != nil {
		return err
	}
	t.visit.tidying.Store(true)
	if err := t.reserve(b, slot, template.Reserve); err != nil {
		return err
	}
	public, err := t.GenerateKey(b.admin, slot, keyPolicy(template))
	if err != nil {
		return changeError(err)
	}
	var ok bool
	if b.public, ok = public.(*ecdsa.PublicKey); !ok {
		return errors.New("the token made a key of another kind")
	}
	// Programs that read tokens want the certificate of the slot's key.
	if err := t.mark(b, slot); err != nil {
		return err
	}
	return t.visit.ended()
}

func keyPolicy(t hsm.Template) yubico.Key {
	k := yubico.Key{Algorithm: yubico.AlgorithmEC256, PINPolicy: yubico.PINPolicyNever, TouchPolicy: yubico.TouchPolicyNever}
	if t.PINBound {
		k.PINPolicy = yubico.PINPolicyAlways
	}
	if t.Touch {
		k.TouchPolicy = yubico.TouchPolicyAlways
	}
	return k
}

// authority checks the PIN where the key will take it, and returns the
// management key.
func (t *token) authority(template hsm.Template) ([]byte, error) {
	admin, err := t.managementKey(template.Auth)
	if err != nil {
		return nil, err
	}
	switch {
	case template.KeepAdmin && !template.Admin.Empty():
		return t.keepUnderPIN(admin, template.PIN)
	case template.PINBound && !template.Admin.Empty():
		return admin, t.verify(template.PIN)
	}
	return admin, nil
}

// reserve tells the caller which slot is about to be filled, and marks it on
// the card.
func (t *token) reserve(b *birth, slot yubico.Slot, journal func([]byte) error) error {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	r := reservation{t.serial, byte(slot.Key), hex.EncodeToString(nonce)}
	if journal != nil {
		encoded, err := r.encode()
		if err != nil {
			return err
		}
		if err := journal(encoded); err != nil {
			return fmt.Errorf("journal the reservation: %w", err)
		}
	}
	if err := t.visit.ended(); err != nil {
		return err
	}
	b.reservation = r
	return t.mark(b, slot)
}

func (t *token) mark(b *birth, slot yubico.Slot) error {
	c, err := newMarker(markerReserved, b.reservation.nonce, b.public)
	if err != nil {
		return err
	}
	t.proved = true
	return changeError(t.SetCertificate(b.admin, slot, c))
}

// freeSlot finds the first retired slot that has neither a key nor a
// certificate, or only what Delete left. What cannot be read is taken.
//
// Firmware before 5.3 does not show a key that was imported and has no
// certificate; there is no way to ask such a token for one.
func (t *token) freeSlot() (yubico.Slot, error) {
	for number := uint32(firstSlot); number <= lastSlot; number++ {
		slot, _ := yubico.RetiredKeyManagementSlot(number)
		free, err := t.isFree(slot)
		if err != nil {
			return slot, err
		}
		if free {
			return slot, nil
		}
	}
	return yubico.Slot{}, fmt.Errorf("%w: all retired slots of token %d are taken", hsm.ErrNoRoom, t.serial)
}

func (t *token) isFree(slot yubico.Slot) (bool, error) {
	c, err := t.Certificate(slot)
	if pcscCode(err) != 0 {
		return false, err
	}
	if err != nil && !errors.Is(err, yubico.ErrNotFound) {
		return false, nil // something is there that is no certificate
	}
	key, keyErr := t.slotKey(slot)
	if pcscCode(keyErr) != 0 {
		return false, keyErr
	}
	if keyErr != nil {
		return false, nil //nolint:nilerr // a key of an unknown kind is there
	}
	empty := c == nil && key == nil && !t.holdsOtherKey(slot)
	return empty || isVacant(c, key), nil
}

// holdsOtherKey reports a key that is not on P-256, which slotKey does not show.
func (t *token) holdsOtherKey(slot yubico.Slot) bool {
	var err error
	if t.firmware.hasMetadata() {
		_, err = t.KeyInfo(slot)
	} else {
		_, err = t.Attest(slot)
	}
	return !errors.Is(err, yubico.ErrNotFound)
}

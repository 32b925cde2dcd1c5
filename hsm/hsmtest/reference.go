package hsmtest

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"crypto/ecdsa"
	"encoding/pem"
	"errors"
	"strings"

	"countersign/hsm"
)

func referenceCases() []Case {
	return []Case{
		{"a reopened key is the same key", "the certificate is for the key that was there at enrollment", (*rig).referenceReopens},
		{"each reference opens its own key", "the approval key must not sign what the device key should", (*rig).referenceIsItsKey},
		{"a reference stays as it is", "what is stored once must open the key for years", (*rig).referenceIsStable},
		{"references are the caller's to change", "a slice that is shared turns into another key under way", (*rig).referenceIsACopy},
		{"keys survive a restart", "a computer is switched off at night", (*rig).referenceSurvivesRestart},
		{"another chip's reference is refused as such", "a disk that moved to another computer is told so, and enrolls again", (*rig).referenceOfAnother},
		{"a reference is not the key", "a copy of the disk must be worth nothing", (*rig).referenceIsNoKey},
		{"a reference holds no PIN", "a copy of the disk must not tell it", (*rig).referenceHoldsNoPIN},
	}
}

func (r *rig) referenceReopens() {
	p := r.provider()
	for pin, key := range r.both(p) {
		again := r.open(p, key.Reference())
		if !same(key.Public(), again.Public()) {
			r.Errorf("with PIN %q: the reopened key has another public key", pin)
		}
		if !bytes.Equal(key.Reference(), again.Reference()) {
			r.Errorf("with PIN %q: the reopened key has another reference", pin)
		}
		r.sign(again, pin)
		r.sign(key, pin)
	}
}

func (r *rig) referenceIsItsKey() {
	p := r.provider()
	for range 2 {
		for pin, key := range r.both(p) {
			opened := r.open(p, key.Reference())
			signature := r.sign(opened, pin)
			if !verifies(key.Public(), digest("a decision"), signature) {
				r.Errorf("with PIN %q: the reference opened another key", pin)
			}
		}
	}
}

func (r *rig) referenceIsStable() {
	for pin, key := range r.both(r.provider()) {
		before := key.Reference()
		r.sign(key, pin)
		if len(before) == 0 || !bytes.Equal(before, key.Reference()) {
			r.Errorf("with PIN %q: the reference of %d bytes changed", pin, len(before))
		}
	}
}

func (r *rig) referenceIsACopy() {
	p := r.provider()
	for pin, key := range r.both(p) {
		stored := key.Reference()
		want := bytes.Clone(stored)
		clear(stored)
		if !bytes.Equal(key.Reference(), want) {
			r.Errorf("with PIN %q: who changes what Reference returned changes the key", pin)
		}
		given := bytes.Clone(want)
		again := r.open(p, given)
		if !bytes.Equal(given, want) {
			r.Errorf("with PIN %q: Open changed what it was given", pin)
		}
		clear(given)
		if !bytes.Equal(again.Reference(), want) {
			r.Errorf("with PIN %q: who changes what Open was given changes the key", pin)
		}
		r.sign(again, pin)
	}
}

func (r *rig) referenceSurvivesRestart() {
	c := r.chip()
	r.need(c.Restart != nil, "its power cannot be cut")
	keys := r.both(c.Provider)
	c.Restart()
	for pin, key := range keys {
		r.sign(r.open(c.Provider, key.Reference()), pin)
		r.sign(key, pin)
	}
}

func (r *rig) referenceOfAnother() {
	r.need(!r.OneChip, "there is one alone")
	here, there := r.provider(), r.provider()
	want := cmp.Or(r.Foreign, hsm.ErrForeignKey)
	for pin, key := range r.both(there) {
		if opened, err := here.Open(r.ctx(), key.Reference()); !errors.Is(err, want) || opened != nil {
			r.Errorf("with PIN %q: Open of another chip's key: %v", pin, err)
		}
		r.sign(key, pin)
	}
}

// contents are a reference's own bytes and those of the PEM blocks in it.
func contents(reference []byte) [][]byte {
	all := [][]byte{reference}
	for block, rest := pem.Decode(reference); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block.Bytes)
	}
	return all
}

// Whatever 32 bytes of the reference are taken for a private scalar, they are
// not the key's.
func (r *rig) referenceIsNoKey() {
	for pin, key := range r.both(r.provider()) {
		pub, err := key.Public().(*ecdsa.PublicKey).ECDH()
		if err != nil {
			r.Fatalf("%v", err)
		}
		for _, content := range contents(key.Reference()) {
			for i := range max(0, len(content)-31) {
				if isScalarOf(content[i:i+32], pub) {
					r.Errorf("with PIN %q: the reference holds the private key at byte %d", pin, i)
				}
			}
		}
	}
}

func isScalarOf(scalar []byte, pub *ecdh.PublicKey) bool {
	private, err := ecdh.P256().NewPrivateKey(scalar)
	return err == nil && private.PublicKey().Equal(pub)
}

func (r *rig) referenceHoldsNoPIN() {
	pin := r.PIN
	if r.AnyPIN {
		pin = "a long PIN that cannot be there by chance"
	}
	reference := r.create(r.provider(), r.bound(pin)).Reference()
	for _, content := range contents(reference) {
		if strings.Contains(string(content), pin) {
			r.Errorf("the reference holds the PIN")
		}
	}
}

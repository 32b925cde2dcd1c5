//go:build cgo

package piv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"testing"

	"countersign/hsm"
)

func someReference(t testing.TB) *reference {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &reference{12345678, 0x83, &key.PublicKey, pinAlways, touchNever}
}

func encoded(t testing.TB, e interface{ encode() ([]byte, error) }) []byte {
	t.Helper()
	b, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReference(t *testing.T) {
	want := someReference(t)
	got, err := decode(encoded(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if got.serial != want.serial || got.slot != want.slot || got.pin != want.pin || got.touch != want.touch || !got.public.Equal(want.public) {
		t.Errorf("wrote %+v, read %+v", want, got)
	}
}

// Nothing but what encode writes is a reference: no other version, slot or
// policy, and no bytes with one bit lost.
func TestBadReferences(t *testing.T) {
	good := encoded(t, someReference(t))
	block, _ := pem.Decode(good)
	var body referenceBody
	if _, err := asn1.Unmarshal(block.Bytes, &body); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*referenceBody){
		"a later version":     func(b *referenceBody) { b.Version = 2 },
		"another slot":        func(b *referenceBody) { b.Slot = 0x9a },
		"no slot":             func(b *referenceBody) { b.Slot = 0x182 },
		"a negative serial":   func(b *referenceBody) { b.Serial = -1 },
		"a long serial":       func(b *referenceBody) { b.Serial = 1 << 32 },
		"the PIN once":        func(b *referenceBody) { b.PIN = 2 },
		"a touch that lasts":  func(b *referenceBody) { b.Touch = 3 },
		"no key":              func(b *referenceBody) { b.PublicKey = nil },
		"another key's bytes": func(b *referenceBody) { b.PublicKey[len(b.PublicKey)-1] ^= 1 },
		"another sum":         func(b *referenceBody) { b.Sum[0] ^= 1 },
	} {
		changed := body
		changed.PublicKey, changed.Sum = bytes.Clone(body.PublicKey), bytes.Clone(body.Sum)
		change(&changed)
		der, err := asn1.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		b := pem.EncodeToMemory(&pem.Block{Type: referenceType, Bytes: der})
		if _, err := decode(b); !errors.Is(err, hsm.ErrBadReference) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for at := range good {
		flipped := bytes.Clone(good)
		flipped[at] ^= 1
		if _, err := decode(flipped); !errors.Is(err, hsm.ErrBadReference) {
			t.Errorf("byte %d flipped: %v", at, err)
		}
	}
}

func FuzzReference(f *testing.F) {
	f.Add(encoded(f, someReference(f)))
	f.Add([]byte("-----BEGIN COUNTERSIGN PIV KEY-----\nMAA=\n-----END COUNTERSIGN PIV KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err == nil && !bytes.Equal(encoded(t, r), b) {
			t.Error("read a reference that would be written differently")
		}
		if err != nil && !errors.Is(err, hsm.ErrBadReference) {
			t.Error(err)
		}
	})
}

func FuzzReservation(f *testing.F) {
	f.Add(encoded(f, &reservation{12345678, 0x95, "00112233445566778899aabbccddeeff"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReservation(b)
		if err == nil && !bytes.Equal(encoded(t, r), b) {
			t.Error("read a reservation that would be written differently")
		}
		if err != nil && !errors.Is(err, hsm.ErrBadReference) {
			t.Error(err)
		}
	})
}

// scriptedCard answers with what a fuzzer thinks of: each answer has its length
// before it, two bytes.
type scriptedCard struct{ answers []byte }

var errScriptEnds = errors.New("no more answers")

func (c *scriptedCard) exchange([]byte) ([]byte, error) {
	if len(c.answers) < 2 {
		return nil, errScriptEnds
	}
	n := min(int(c.answers[0])<<8|int(c.answers[1]), len(c.answers)-2)
	answer := c.answers[2 : 2+n]
	c.answers = c.answers[2+n:]
	return bytes.Clone(answer), nil
}

// Whatever a card answers, it is understood or refused, and nothing panics.
func FuzzCard(f *testing.F) {
	answer := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			p = append(bytes.Clone(p), 0x90, 0)
			all = append(all, byte(len(p)>>8), byte(len(p)))
			all = append(all, p...)
		}
		return all
	}
	point := append([]byte{4}, bytes.Repeat([]byte{1}, 64)...)
	f.Add(answer(nil, []byte{5, 7, 1}, []byte{0, 0, 0, 1}, []byte{1, 1, 0xff, 5, 1, 1, 6, 2, 3, 3}))
	f.Add(answer(nil, []byte{5, 4, 3}, []byte{0, 0, 0, 1}, append([]byte{1, 1, 0x11, 2, 2, 3, 1, 3, 1, 1, 4, 67, 0x86, 65}, point...)))
	f.Add(answer(nil, []byte{4, 3, 5}, nil, []byte{0, 0, 0, 1}, nil, []byte{0x7c, 10, 0x80, 8, 1, 2, 3, 4, 5, 6, 7, 8}))
	f.Add([]byte{0, 2, 0x61, 4, 0, 2, 0x61, 4, 0, 1, 0x90})
	f.Fuzz(func(t *testing.T, answers []byte) {
		a, err := openApplet(&scriptedCard{answers})
		if err != nil {
			return
		}
		ask := map[string]func() error{
			"tries":       func() error { _, err := a.triesLeft(); return err },
			"key":         func() error { _, err := a.slotKey(firstSlot); return err },
			"certificate": func() error { _, err := a.certificate(firstSlot); return err },
			"note":        func() error { _, err := a.keepsKeyUnderPIN(); return err },
			"noting":      a.noteKeyUnderPIN,
			"overwrite":   func() error { _, err := a.overwriteKey(firstSlot); return err },
			"vacate":      func() error { return a.vacate(firstSlot) },
			"management":  func() error { return a.authenticate(factoryManagementKey()) },
		}
		rest := a.exchanger.(*scriptedCard).answers
		for name, f := range ask {
			a.exchanger = &scriptedCard{bytes.Clone(rest)}
			if name == "management" && f() == nil {
				t.Error("a card that does not know the management key was believed")
			}
			_ = f()
		}
	})
}

func FuzzTLV(f *testing.F) {
	f.Add(appendTLV(nil, 0x70, make([]byte, 300)))
	f.Add([]byte{0x53, 0x83, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		tag, value, rest, err := cutTLV(b)
		if err != nil {
			return
		}
		again, value2, rest2, err := cutTLV(append(appendTLV(nil, tag, value), rest...))
		if err != nil || again != tag || !bytes.Equal(value, value2) || !bytes.Equal(rest, rest2) {
			t.Errorf("%x is read in two ways", b)
		}
		_, _ = parseMetadata(b)
		_ = pivmanFlags(b)
	})
}

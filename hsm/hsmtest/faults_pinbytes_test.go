package hsmtest_test

import (
	"bytes"
	"context"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"
)

func pinBytesFaults() []fault {
	return []fault{
		{"looks at the first bytes of a PIN alone", "the beginning of a PIN is not the PIN", takes(func(pin []byte) []byte {
			return pin[:min(len(pin), 2*hsm.MinPIN)]
		})},
		{"trims blanks", "a PIN with more behind is not the PIN", takes(bytes.TrimSpace)},
		{"trims zero bytes", "a PIN with a zero byte behind is not the PIN", takes(func(pin []byte) []byte {
			return bytes.Trim(pin, "\x00")
		})},
		{"ignores the highest bit", "PINs that differ in a bit are two", takes(func(pin []byte) []byte {
			for i := range pin {
				pin[i] &= 0x7f
			}
			return pin
		})},
		{"takes a PIN for the letters of one script", "PINs of any bytes work", creates(func(t *hsm.Template) {
			t.PIN = secret.New(bytes.ToValidUTF8(t.PIN.Reveal(), []byte("?")))
		})},
		{"ends a PIN at its first zero byte", "PINs that differ behind a zero byte are two", takes(func(pin []byte) []byte {
			cut, _, _ := bytes.Cut(pin, []byte{0})
			return append(cut, make([]byte, max(0, hsm.MinPIN-len(cut)))...)
		})},
	}
}

func secretFaults() []fault {
	return []fault{
		{"wipes the PIN after use", "secrets of the caller are left alone", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				defer a.PIN.Wipe()
				return honest(ctx, digest, a)
			}
		})},
		{"keeps a copy of the PIN for the same secret", "a PIN that was wiped is gone", bends(func(k *crookedKey) {
			honest, copies := k.sign, map[*byte][]byte{}
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if b := a.PIN.Reveal(); len(b) > 0 {
					if copies[&b[0]] == nil {
						copies[&b[0]] = bytes.Clone(b)
					}
					a.PIN = secret.New(copies[&b[0]])
				}
				return honest(ctx, digest, a)
			}
		})},
		{"checks PINs against the secret of Create", "a key does not live on the secrets it was made with", provides(func(c *crooked) {
			var made secret.Value
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				made = t.PIN
				return honest(ctx, t)
			}
			c.bend = func(k *crookedKey) {
				honest := k.sign
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					if !bytes.Equal(a.PIN.Reveal(), made.Reveal()) {
						return nil, hsm.ErrWrongPIN
					}
					return honest(ctx, digest, a)
				}
			}
		})},
		{"tells the PIN in an error", "no error holds a PIN", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				signature, err := honest(ctx, digest, a)
				if err != nil {
					return nil, fmt.Errorf("PIN %s: %w", a.PIN.Reveal(), err)
				}
				return signature, nil
			}
		})},
	}
}

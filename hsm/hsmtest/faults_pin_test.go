package hsmtest_test

import (
	"bytes"
	"context"
	"errors"

	"countersign/hsm"
	"countersign/internal/secret"
)

// signsFirst does something before each signature; where that is an error, it
// is the answer.
func signsFirst(f func(ctx context.Context, k *crookedKey, a hsm.Auth) error) planting {
	return bends(func(k *crookedKey) {
		honest := k.sign
		k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			if err := f(ctx, k, a); err != nil {
				return nil, err
			}
			return honest(ctx, digest, a)
		}
	})
}

// guess spends a try.
func guess(ctx context.Context, k *crookedKey) {
	_, _ = k.honest.Sign(ctx, make([]byte, 32), pin(wrongPIN))
}

func pinFaults() []fault {
	return []fault{
		{"refuses the right PIN the second time", "the right PIN signs", signs(func(honest signing) signing {
			n := 0
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if n++; n > 1 {
					a = pin(wrongPIN)
				}
				return honest(ctx, digest, a)
			}
		})},
		{"takes any PIN", "a wrong PIN costs one try, and says what is left", signsWith(func(hsm.Auth) bool { return true })},
		{"signs without a PIN", "no PIN is asked for", signsWith(func(a hsm.Auth) bool { return a.PIN.Empty() })},
		{"asks the chip before it asks for a PIN", "no PIN costs no try", signsFirst(func(ctx context.Context, k *crookedKey, a hsm.Auth) error {
			if a.PIN.Empty() && k.bound() {
				guess(ctx, k)
			}
			return nil
		})},
		{"asks the chip about a PIN that can be none", "an impossible PIN is told and costs no try", signsFirst(func(ctx context.Context, k *crookedKey, a hsm.Auth) error {
			if n := len(a.PIN.Reveal()); n > 0 && n < hsm.MinPIN {
				guess(ctx, k)
			}
			return nil
		})},
		{"tries a wrong PIN twice", "two handles of a key share its count", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				signature, err := honest(ctx, digest, a)
				if errors.Is(err, hsm.ErrWrongPIN) {
					return honest(ctx, digest, a)
				}
				return signature, err
			}
		})},
		{"tells one try too many", "the right PIN helps at the last try", tellsTries(func(left int) int { return left + 1 })},
		{"tells no tries", "tries are counted key by key", tellsTries(func(int) int { return -1 })},
		{"keeps the PIN for the next call", "a right PIN does not serve the next call", bends(func(k *crookedKey) {
			honest, last := k.sign, []byte(nil)
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if a.PIN.Empty() {
					a.PIN = secret.New(bytes.Clone(last))
				}
				signature, err := honest(ctx, digest, a)
				if err == nil {
					last = bytes.Clone(a.PIN.Reveal())
				}
				return signature, err
			}
		})},
		{"keeps a session open after the right PIN", "a wrong PIN is refused right after the right one", bends(func(k *crookedKey) {
			honest, last := k.sign, []byte(nil)
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if last != nil && !a.PIN.Empty() {
					a.PIN = secret.New(bytes.Clone(last))
				}
				given := bytes.Clone(a.PIN.Reveal())
				signature, err := honest(ctx, digest, a)
				if err == nil {
					last = given
				}
				return signature, err
			}
		})},
		{"takes the PIN of any of its keys", "each PIN opens its own key alone", provides(func(c *crooked) {
			var made []*crookedKey
			c.bend = func(k *crookedKey) {
				made = append(made, k)
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) (signature []byte, err error) {
					for _, k := range append([]*crookedKey{k}, made...) {
						if signature, err = k.honest.Sign(ctx, digest, a); err == nil {
							return signature, nil
						}
					}
					return nil, err
				}
			}
		})},
		{"gives the tries back when a key is opened", "opening a key costs and gives no try", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			k, err := honest(reference)
			if err == nil {
				_, _ = k.Sign(context.Background(), make([]byte, 32), pin(rightPIN))
			}
			return k, err
		})},
	}
}

// signsWith signs with the right PIN, whatever was given, where f says so.
func signsWith(f func(a hsm.Auth) bool) planting {
	return signs(func(honest signing) signing {
		return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			if f(a) {
				a = pin(rightPIN)
			}
			return honest(ctx, digest, a)
		}
	})
}

// tellsTries changes the number of tries that a refusal tells.
func tellsTries(f func(left int) int) planting {
	return signs(func(honest signing) signing {
		return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			signature, err := honest(ctx, digest, a)
			if refused := (*hsm.PINError)(nil); errors.As(err, &refused) {
				return nil, &hsm.PINError{TriesLeft: f(refused.TriesLeft)}
			}
			return signature, err
		}
	})
}

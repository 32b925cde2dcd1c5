package hsmtest_test

import (
	"context"
	"crypto/rand"
	"errors"

	"countersign/hsm"
)

// describes gives another status than the honest one.
func describes(f func(s *hsm.Status, err error) error) planting {
	return provides(func(c *crooked) {
		honest := c.status
		c.status = func(ctx context.Context) (hsm.Status, error) {
			s, err := honest(ctx)
			err = f(&s, err)
			return s, err
		}
	})
}

func statusFaults() []fault {
	return []fault{
		{"does not say where the chip is", "the status tells what the chip is and where", describes(func(s *hsm.Status, err error) error {
			s.Where = ""
			return err
		})},
		{"says more than it should", "the status tells no secrets", describes(func(s *hsm.Status, err error) error {
			s.Notes = append(s.Notes, hsm.Note{Code: "last_pin", Text: "the last PIN was " + rightPIN})
			return err
		})},
		{"says that an absent chip is well", "each call names a chip that is absent", describes(func(*hsm.Status, error) error { return nil })},
		{"waits for an absent chip", "an absent chip is told at once", provides(func(c *crooked) {
			honest := c.status
			c.status = func(ctx context.Context) (hsm.Status, error) {
				s, err := honest(ctx)
				if errors.Is(err, hsm.ErrUnavailable) {
					<-ctx.Done()
					err = ctx.Err()
				}
				return s, err
			}
		})},
		{"gives a chip up for good", "a chip that comes back is used again", provides(func(c *crooked) {
			gone := false
			honest := c.status
			c.status = func(ctx context.Context) (hsm.Status, error) {
				s, err := honest(ctx)
				if gone = gone || errors.Is(err, hsm.ErrUnavailable); gone {
					return s, hsm.ErrUnavailable
				}
				return s, err
			}
		})},
		{"counts while the chip is away", "an absent chip costs no try", func() planting {
			missed := 0
			return bends(func(k *crookedKey) {
				honest := k.sign
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					signature, err := honest(ctx, digest, a)
					if errors.Is(err, hsm.ErrUnavailable) {
						missed++
					} else if missed >= tries {
						return nil, hsm.ErrPINLocked
					}
					return signature, err
				}
			})
		}()},
		{"makes up a name each time", "a chip is known again after a restart", provides(func(c *crooked) {
			c.identify = func(context.Context) (string, error) { return rand.Text(), nil }
		})},
		{"calls all chips by one name", "two chips are told apart", provides(func(c *crooked) {
			c.identify = func(context.Context) (string, error) { return "tpm", nil }
		})},
		{"loses its keys with the power", "keys survive a restart", restarts(func(k *crookedKey) {
			_ = k.honest.Delete(context.Background(), hsm.Auth{})
		})},
	}
}

// inspects tells another health than the honest one.
func inspects(f func(k *crookedKey, h *hsm.Health)) planting {
	return bends(func(k *crookedKey) {
		honest := k.inspect
		k.inspect = func(ctx context.Context) (hsm.Health, error) {
			h, err := honest(ctx)
			f(k, &h)
			return h, err
		}
	})
}

func healthFaults() []fault {
	return []fault{
		{"has spent a try on a new key", "a new key has all its tries", inspects(func(k *crookedKey, h *hsm.Health) { h.TriesLeft-- })},
		{"tells the tries of a new key for ever", "looking tells what a refusal told", inspects(func(_ *crookedKey, h *hsm.Health) { h.TriesLeft = tries })},
		{"looks with a guess", "looking costs no try", inspects(func(k *crookedKey, _ *hsm.Health) { guess(context.Background(), k) })},
		{"does not tell of a lock", "a locked key is seen to be locked", inspects(func(_ *crookedKey, h *hsm.Health) {
			if h.TriesLeft == 0 {
				h.TriesLeft = -1
			}
		})},
		{"tells tries where there is no PIN", "a key without PIN has no tries to tell", inspects(func(_ *crookedKey, h *hsm.Health) { h.TriesLeft = tries })},
		{"tells one place for all", "each key says where it is", inspects(func(_ *crookedKey, h *hsm.Health) { h.Place = "in the TPM" })},
		{"says that a deleted key is well", "a deleted key is not said to be well", bends(func(k *crookedKey) {
			k.inspect = func(context.Context) (hsm.Health, error) { return hsm.Health{TriesLeft: tries}, nil }
		})},
	}
}

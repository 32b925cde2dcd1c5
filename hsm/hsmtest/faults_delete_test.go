package hsmtest_test

import (
	"bytes"
	"context"
	"errors"

	"countersign/hsm"
)

// removes deletes keys in another way than the honest one.
func removes(f func(ctx context.Context, k *crookedKey, honest func() error) error) planting {
	return bends(func(k *crookedKey) {
		honest := k.remove
		k.remove = func(ctx context.Context, a hsm.Auth) error {
			return f(ctx, k, func() error { return honest(ctx, a) })
		}
	})
}

func deleteFaults() []fault {
	return []fault{
		{"deletes a key once", "deleting twice is no error", bends(func(k *crookedKey) {
			honest, gone := k.remove, false
			k.remove = func(ctx context.Context, a hsm.Auth) error {
				if gone {
					return hsm.ErrForeignKey
				}
				gone = true
				return honest(ctx, a)
			}
		})},
		{"deletes all keys", "deleting hurts no other key", provides(func(c *crooked) {
			var made []*crookedKey
			c.bend = func(k *crookedKey) {
				made = append(made, k)
				k.remove = func(ctx context.Context, a hsm.Auth) error {
					for _, k := range made {
						if err := k.honest.Delete(ctx, a); err != nil {
							return err
						}
					}
					return nil
				}
			}
		})},
		{"deletes nothing", "a deleted key behind a PIN opens no more", removes(func(context.Context, *crookedKey, func() error) error { return nil })},
		{"deletes a key and keeps its room", "deleting gives the room back", removes(func(context.Context, *crookedKey, func() error) error { return nil })},
		{"deletes only what it has made itself", "a reopened key can be deleted", provides(func(c *crooked) {
			honest := c.open
			c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
				k, err := c.key(honest(ctx, reference))
				if err == nil {
					k.(*crookedKey).remove = func(context.Context, hsm.Auth) error { return nil }
				}
				return k, err
			}
		})},
		{"deletes with a guess at the PIN", "deleting costs no try", func() planting {
			var first *crookedKey
			return bends(func(k *crookedKey) {
				if first == nil {
					first = k
				}
				honest := k.remove
				k.remove = func(ctx context.Context, a hsm.Auth) error {
					guess(ctx, first)
					return honest(ctx, a)
				}
			})
		}()},
		{"wants the PIN to delete", "a locked key can be deleted", removes(func(ctx context.Context, k *crookedKey, honest func() error) error {
			if _, err := k.honest.Sign(ctx, make([]byte, 32), pin(rightPIN)); errors.Is(err, hsm.ErrPINLocked) {
				return err
			}
			return honest()
		})},
	}
}

// releases cleans up in another way than the honest one.
func releases(f func(honest func() error) error) planting {
	return provides(func(c *crooked) {
		honest := c.release
		c.release = func(ctx context.Context, b []byte) error { return f(func() error { return honest(ctx, b) }) }
	})
}

// reserves makes keys in another way; the honest Create reserves with what it
// is given.
func reserves(f func(t hsm.Template, honest func(reserve func([]byte) error) (hsm.Key, error)) (hsm.Key, error)) planting {
	return provides(func(c *crooked) {
		honest := c.create
		c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
			return f(t, func(reserve func([]byte) error) (hsm.Key, error) {
				t.Reserve = reserve
				return honest(ctx, t)
			})
		}
	})
}

func reservationFaults() []fault {
	return []fault{
		{"reserves what it has made", "a reservation comes before anything that lasts", reserves(reservesTooLate)},
		{"goes on without a reservation", "a key that cannot be reserved is not made", reserves(func(t hsm.Template, honest func(func([]byte) error) (hsm.Key, error)) (hsm.Key, error) {
			return honest(func(b []byte) error {
				if t.Reserve != nil {
					_ = t.Reserve(b)
				}
				return nil
			})
		})},
		{"reserves before it looks what for", "no reservation is made for a refused key", reserves(func(t hsm.Template, honest func(func([]byte) error) (hsm.Key, error)) (hsm.Key, error) {
			if t.Reserve != nil {
				_ = t.Reserve([]byte("something"))
			}
			return honest(t.Reserve)
		})},
		{"has one reservation for all", "each key has a reservation of its own", reserves(func(t hsm.Template, honest func(func([]byte) error) (hsm.Key, error)) (hsm.Key, error) {
			return honest(func([]byte) error {
				if t.Reserve == nil {
					return nil
				}
				return t.Reserve([]byte("the chip"))
			})
		})},
		{"releases nothing", "releasing removes what a lost Create left", releases(func(func() error) error { return nil })},
		{"releases once", "releasing twice is no error", func() planting {
			n := 0
			return releases(func(honest func() error) error {
				if n++; n > 1 {
					return hsm.ErrBadReference
				}
				return honest()
			})
		}()},
		{"releases everything", "releasing removes nothing else", provides(func(c *crooked) {
			var made []*crookedKey
			c.bend = func(k *crookedKey) { made = append(made, k) }
			c.release = func(ctx context.Context, _ []byte) error {
				for _, k := range made {
					if err := k.honest.Delete(ctx, hsm.Auth{}); err != nil {
						return err
					}
				}
				return nil
			}
		})},
		{"misses what is not there", "releasing where nothing is left does nothing", releases(func(honest func() error) error {
			_ = honest()
			return hsm.ErrForeignKey
		})},
		{"panics at a damaged reservation", "releasing garbage hurts nobody", provides(func(c *crooked) {
			honest := c.release
			c.release = func(ctx context.Context, b []byte) error {
				_ = b[3]
				return honest(ctx, b)
			}
		})},
		{"reserves with the PIN", "a reservation holds no PIN", reserves(func(t hsm.Template, honest func(func([]byte) error) (hsm.Key, error)) (hsm.Key, error) {
			pin := bytes.Clone(t.PIN.Reveal())
			return honest(func(b []byte) error { return t.Reserve(append(b, pin...)) })
		})},
	}
}

func reservesTooLate(t hsm.Template, honest func(reserve func([]byte) error) (hsm.Key, error)) (hsm.Key, error) {
	var reservation []byte
	k, err := honest(func(b []byte) error { reservation = b; return nil })
	if err == nil && t.Reserve != nil {
		err = t.Reserve(reservation)
	}
	return k, err
}

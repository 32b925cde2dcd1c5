package hsmtest_test

import (
	"context"
	"sync/atomic"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
)

// crowded does something when others are at it too; where that is an error, it
// is the answer.
func crowded(bound bool, f func(k *crookedKey) error) planting {
	return provides(func(c *crooked) {
		var inside atomic.Int32
		c.bend = func(k *crookedKey) {
			honest := k.sign
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				defer inside.Add(-1)
				if inside.Add(1) > 1 && k.bound() == bound {
					if err := f(k); err != nil {
						return nil, err
					}
				}
				return honest(ctx, digest, a)
			}
		}
	})
}

// beside is busy with one call whenever somebody signs.
func beside(plant func(c *crooked, busy *atomic.Bool)) planting {
	return provides(func(c *crooked) {
		var signing atomic.Bool
		plant(c, &signing)
		c.bend = func(k *crookedKey) {
			honest := k.sign
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				signing.Store(true)
				return honest(ctx, digest, a)
			}
		}
	})
}

func isBusy(*crookedKey) error { return hsm.ErrBusy }

func concurrencyFaults() []fault {
	return []fault{
		{"is busy when two come at once", "many sign with one key", crowded(false, isBusy)},
		{"is busy when two PINs come at once", "many sign with one key behind a PIN", crowded(true, isBusy)},
		{"mixes up two keys at once", "many sign with two keys, each as itself", func() planting {
			var other atomic.Pointer[crookedKey]
			return bends(func(k *crookedKey) {
				honest := k.sign
				if !k.bound() {
					other.Store(k)
				}
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					if free := other.Load(); k.bound() && free != nil {
						return free.honest.Sign(ctx, digest, a)
					}
					return honest(ctx, digest, a)
				}
			})
		}()},
		{"makes no key while it signs", "keys are made while others sign", beside(func(c *crooked, busy *atomic.Bool) {
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				if busy.Load() {
					return nil, hsm.ErrBusy
				}
				return honest(ctx, t)
			}
		})},
		{"opens no key while it signs", "keys are opened while others sign", provides(func(c *crooked) {
			var inside atomic.Int32
			honest := c.open
			c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
				defer inside.Add(-1)
				if inside.Add(1) > 1 {
					return nil, hsm.ErrBusy
				}
				return honest(ctx, reference)
			}
		})},
		{"deletes a key under its signer's hands", "a key is deleted while it signs", provides(func(c *crooked) {
			c.bend = func(k *crookedKey) {
				honest, gone := k.sign, atomic.Bool{}
				remove := k.remove
				k.remove = func(ctx context.Context, a hsm.Auth) error {
					gone.Store(true)
					return remove(ctx, a)
				}
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					signature, err := honest(ctx, digest, a)
					if gone.Load() {
						return []byte("half a signature"), hsm.ErrReset
					}
					return signature, err
				}
			}
		})},
		{"fails when two delete", "a key is deleted by two at once", bends(func(k *crookedKey) {
			honest, gone := k.remove, atomic.Bool{}
			k.remove = func(ctx context.Context, a hsm.Auth) error {
				if gone.Swap(true) {
					return hsm.ErrForeignKey
				}
				return honest(ctx, a)
			}
		})},
		{"counts wrong PINs at once as one", "wrong PINs at once are each counted", crowded(true, func(*crookedKey) error {
			return &hsm.PINError{TriesLeft: tries - 1}
		})},
		{"cannot be looked at while it signs", "the chip is looked at while others sign", beside(func(c *crooked, busy *atomic.Bool) {
			honest := c.status
			c.status = func(ctx context.Context) (hsm.Status, error) {
				if busy.Load() {
					return hsm.Status{}, hsm.ErrBusy
				}
				return honest(ctx)
			}
		})},
		{"leaves a goroutine behind", "no goroutine stays behind", func(c *crooked, _ *hsmtest.Chip, stop <-chan struct{}) {
			signsFirst(func(context.Context, *crookedKey, hsm.Auth) error {
				go func() { <-stop }()
				return nil
			})(c, nil, nil)
		}},
	}
}

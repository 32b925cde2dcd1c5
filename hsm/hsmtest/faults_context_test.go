package hsmtest_test

import (
	"context"
	"errors"
	"sync"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
)

// deaf signs for a context of another making.
func deaf(f func(context.Context) context.Context) planting {
	return signs(func(honest signing) signing {
		return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			return honest(f(ctx), digest, a)
		}
	})
}

// onlyAtFirst looks at a context once.
func onlyAtFirst(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func contextFaults() []fault {
	return []fault{
		{"does not look at the context", "an ended context ends each call", deaf(context.WithoutCancel)},
		{"looks at no deadline", "a deadline that has passed ends each call", deaf(func(ctx context.Context) context.Context {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return context.WithoutCancel(ctx)
			}
			return ctx
		})},
		{"asks the chip before the context", "an ended context costs no try", signsFirst(func(ctx context.Context, k *crookedKey, a hsm.Auth) error {
			if ctx.Err() != nil && string(a.PIN.Reveal()) == wrongPIN {
				guess(context.WithoutCancel(ctx), k)
			}
			return nil
		})},
		{"makes a key and then finds that nobody waits", "an ended context leaves nothing behind", provides(func(c *crooked) {
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				k, err := honest(context.WithoutCancel(ctx), t)
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				return k, err
			}
		})},
		{"is of no use once a caller gave up", "ended calls do not hurt the next one", func() planting {
			var broken error
			return signsFirst(func(ctx context.Context, _ *crookedKey, _ hsm.Auth) error {
				if broken == nil {
					broken = ctx.Err()
				}
				return broken
			})
		}()},
		{"looks at the context before it starts, and not again", "a caller may give up in the middle of each call", deaf(onlyAtFirst)},
		{"looks at the deadline before it starts, and not again", "a deadline ends each call in the middle", deaf(onlyAtFirst)},
		{"goes on in the background for whoever gave up", "who gives up waiting has spent no try", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) (signature []byte, err error) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					signature, err = honest(context.WithoutCancel(ctx), digest, a)
				}()
				select {
				case <-done:
					return signature, err
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		})},
		{"takes the late answer for the next one's", "all is well once a stalled chip goes on", bends(func(k *crookedKey) {
			honest, late := k.sign, []byte(nil)
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if late != nil {
					defer func() { late = nil }()
					return honest(ctx, late, a)
				}
				signature, err := honest(ctx, digest, a)
				if ctx.Err() != nil {
					late = digest
				}
				return signature, err
			}
		})},
		{"gives up for all when one does", "who gives up waiting does not disturb who signs", givesUpForAll},
		{"waits for its turn with a lock", "giving up behind a stalled caller is prompt", provides(func(c *crooked) {
			var turn sync.Mutex
			c.bend = func(k *crookedKey) {
				honest := k.sign
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					turn.Lock()
					defer turn.Unlock()
					return honest(ctx, digest, a)
				}
			}
		})},
	}
}

// givesUpForAll has one connection, as it were, that a caller who gives up
// hangs up.
func givesUpForAll(c *crooked, _ *hsmtest.Chip, _ <-chan struct{}) {
	hungUp, hangUp := context.WithCancelCause(context.Background())
	c.bend = func(k *crookedKey) {
		honest := k.sign
		k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			defer context.AfterFunc(ctx, func() { hangUp(hsm.ErrReset) })()
			ctx, cancel := context.WithCancelCause(ctx)
			defer context.AfterFunc(hungUp, func() { cancel(hsm.ErrReset) })()
			defer cancel(nil)
			return honest(ctx, digest, a)
		}
	}
}

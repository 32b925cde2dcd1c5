package hsmtest_test

import (
	"context"

	"countersign/hsm"
	"countersign/internal/secret"
)

func createFaults() []fault {
	return []fault{
		{"makes one key and gives it out again", "no two keys are the same", provides(func(c *crooked) {
			honest := c.create
			var first hsm.Key
			c.create = func(ctx context.Context, t hsm.Template) (k hsm.Key, err error) {
				if first == nil {
					first, err = honest(ctx, t)
				}
				return first, err
			}
		})},
		{"makes RSA keys when P-256 is meant", "a new key of no given algorithm is on P-256", creates(func(t *hsm.Template) {
			if t.Algorithm == "" {
				t.Algorithm = hsm.RS256
			}
		})},
		{"makes P-256 keys when RSA is meant", "RS256 works or is refused", creates(func(t *hsm.Template) { t.Algorithm = "" })},
		{"makes P-256 keys of whatever is asked for", "unknown algorithms are refused", creates(func(t *hsm.Template) {
			if t.Algorithm != hsm.RS256 {
				t.Algorithm = hsm.ES256
			}
		})},
		{"forgets that a touch was asked for", "a touch is refused without a sensor", creates(func(t *hsm.Template) { t.Touch = false })},
		{"makes a free key where the PIN is missing", "a key behind a PIN takes one to make", creates(func(t *hsm.Template) {
			t.PINBound = t.PINBound && !t.PIN.Empty()
		})},
		{"cuts a PIN that is too long", "PINs of impossible length make no key", creates(func(t *hsm.Template) {
			t.PIN = secret.New(t.PIN.Reveal()[:min(len(t.PIN.Reveal()), hsm.MaxPIN)])
		})},
		{"refuses the longest PIN", "the shortest and the longest PIN work", provides(func(c *crooked) {
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				if len(t.PIN.Reveal()) >= hsm.MaxPIN {
					return nil, hsm.ErrBadPIN
				}
				return honest(ctx, t)
			}
		})},
		{"binds a key to any PIN that is around", "a PIN does not bind a key that is to be free", creates(func(t *hsm.Template) {
			t.PINBound = !t.PIN.Empty()
		})},
		{"leaves a PIN index behind when it refuses", "a refused key leaves nothing behind", provides(func(c *crooked) {
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				k, err := honest(ctx, t)
				if err != nil {
					_, _ = honest(ctx, hsm.Template{Auth: pin(rightPIN), PINBound: true})
				}
				return k, err
			}
		})},
		{"forgets after Open that there is a PIN", "protection says what is so", provides(func(c *crooked) {
			honest := c.open
			c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
				k, err := c.key(honest(ctx, reference))
				if err == nil {
					k.(*crookedKey).protection = func() hsm.Protection { return hsm.Protection{} }
				}
				return k, err
			}
		})},
	}
}

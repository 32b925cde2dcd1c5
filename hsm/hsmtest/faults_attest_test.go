package hsmtest_test

import (
	"context"
	"slices"

	"countersign/hsm"
)

// claims claims in another way than the honest one.
func claims(f func(keys []hsm.Key, honest func([]hsm.Key) (hsm.Claim, error)) (hsm.Claim, error)) planting {
	return provides(func(c *crooked) {
		honest := c.claim
		c.claim = func(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
			return f(keys, func(keys []hsm.Key) (hsm.Claim, error) { return honest(ctx, keys) })
		}
	})
}

// proves proves in another way than the honest one.
func proves(f func(ch *hsm.Challenge, keys []hsm.Key, a *hsm.Auth)) planting {
	return provides(func(c *crooked) {
		honest := c.prove
		c.prove = func(ctx context.Context, claim hsm.Claim, ch hsm.Challenge, keys []hsm.Key, a hsm.Auth) (hsm.Proof, error) {
			keys = slices.Clone(keys)
			f(&ch, keys, &a)
			return honest(ctx, claim, ch, keys, a)
		}
	})
}

func attestationFaults() []fault {
	return []fault{
		{"claims in another's name", "a claim says who speaks", claims(func(keys []hsm.Key, honest func([]hsm.Key) (hsm.Claim, error)) (hsm.Claim, error) {
			claim, err := honest(keys)
			claim.Format = hsm.FormatPIV
			return claim, err
		})},
		{"forgets how a claim goes on", "a claim can be stored and gone on with", claims(func(keys []hsm.Key, honest func([]hsm.Key) (hsm.Claim, error)) (hsm.Claim, error) {
			claim, err := honest(keys)
			claim.Resume = nil
			return claim, err
		})},
		{"proves keys in an order of its own", "a proof is about each key, in order", proves(func(_ *hsm.Challenge, keys []hsm.Key, _ *hsm.Auth) {
			slices.SortFunc(keys, func(a, b hsm.Key) int { return len(a.Reference()) - len(b.Reference()) })
		})},
		{"proves for any nonce", "a proof answers its nonce", proves(func(ch *hsm.Challenge, _ []hsm.Key, _ *hsm.Auth) {
			ch.Nonce = make([]byte, 32)
		})},
		{"leaves out what it cannot vouch for", "a key of another chip is not vouched for", provides(func(c *crooked) {
			honest := c.claim
			var own []hsm.Key
			c.bend = func(k *crookedKey) { own = append(own, k) }
			c.claim = func(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
				keys = slices.DeleteFunc(slices.Clone(keys), func(k hsm.Key) bool { return !slices.Contains(own, k) })
				return honest(ctx, keys)
			}
		})},
		{"claims for no key", "a claim of nothing is refused", provides(func(c *crooked) {
			honest := c.claim
			var made hsm.Key
			c.bend = func(k *crookedKey) { made = k }
			c.claim = func(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
				if len(keys) == 0 {
					keys = []hsm.Key{made}
				}
				return honest(ctx, keys)
			}
		})},
		{"tries the PIN while it proves", "a proof costs no try and keeps no PIN", proves(func(_ *hsm.Challenge, keys []hsm.Key, _ *hsm.Auth) {
			guess(context.Background(), keys[1].(*crookedKey))
		})},
	}
}

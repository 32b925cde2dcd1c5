package tpm

import (
	"context"
	"fmt"
	"time"

	"countersign/hsm"
)

// Inspect implements hsm.Inspector. It returns hsm.ErrForeignKey when the key,
// or the index that guards it, is no longer in this chip.
func (k *key) Inspect(ctx context.Context) (hsm.Health, error) {
	health := hsm.Health{TriesLeft: -1}
	err := k.provider.link.ask(ctx, func(c *chip) error {
		if err := c.find(k.reference); err != nil {
			return err
		}
		return c.inspect(k.reference, &health)
	})
	if err != nil {
		return hsm.Health{}, fmt.Errorf("tpm: inspect a key: %w", err)
	}
	return health, nil
}

func (c *chip) inspect(ref *reference, health *hsm.Health) error {
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return err
	}
	health.Place = fmt.Sprintf("storage root 0x%08x", uint32(r.file()))
	switch ref.counter() {
	case hsm.CounterIndex:
		health.Place = fmt.Sprintf("NV index 0x%08x", uint32(ref.index.public.NVIndex))
		health.TriesLeft = c.triesLeft(r, ref.index)
	case hsm.CounterLockout:
		state := c.lockout()
		health.TriesLeft, health.LockedUntil = state.triesLeft(), state.until(time.Now())
	default: // no PIN
	}
	return nil
}

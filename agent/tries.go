package agent

import (
	"context"
	"time"

	"countersign/hsm"
)

// glance is how long a prompt waits for a chip to say how many tries are left:
// it is shown without where that takes longer.
const glance = 100 * time.Millisecond

// triesLeft is the chip's count of PINs that it will still look at, nil where it
// does not say or does not say it at once.
func (p *profile) triesLeft(ctx context.Context) *int {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	told := make(chan *int, 1)
	go func() {
		key, err := p.approval().open(ctx)
		inspector, can := key.(hsm.Inspector)
		if err != nil || !can {
			told <- nil
			return
		}
		h, err := inspector.Inspect(ctx)
		if err != nil || h.TriesLeft < 0 {
			told <- nil
			return
		}
		told <- &h.TriesLeft
	}()
	select {
	case left := <-told:
		return left
	case <-ctx.Done():
		return nil
	}
}

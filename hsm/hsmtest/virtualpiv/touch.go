package virtualpiv

import (
	"context"
	"time"
)

// touch is the finger on the card, or its absence.
type touch struct {
	timeout time.Duration
	touched func(ctx context.Context) bool
	awaited int
}

func touchedAtOnce(context.Context) bool { return true }

// SetTouch says what happens when the card asks for a touch: touched is called
// and returns whether a touch came. Its context ends when the card waits no
// longer. By default the card is touched at once.
func (c *Card) SetTouch(touched func(ctx context.Context) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touch.touched = touched
}

// TouchAfter lets each touch come so much later than it is asked for.
func (c *Card) TouchAfter(d time.Duration) {
	c.SetTouch(func(ctx context.Context) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

// TouchNever lets no touch come: the card waits for its time and refuses.
func (c *Card) TouchNever() {
	c.SetTouch(func(ctx context.Context) bool {
		<-ctx.Done()
		return false
	})
}

// TouchesAwaited is how many times the card has begun to wait for a touch.
func (c *Card) TouchesAwaited() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.touch.awaited
}

// waitForTouch waits without the lock, so that a test can see the card wait.
// One command runs at a time, so nothing changes the session meanwhile.
func (c *Card) waitForTouch(ctx context.Context) bool {
	c.touch.awaited++
	touched := c.touch.touched
	ctx, cancel := context.WithTimeout(ctx, c.touch.timeout)
	defer cancel()
	c.mu.Unlock()
	defer c.mu.Lock()
	return touched(ctx)
}

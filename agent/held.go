package agent

import (
	"context"

	"countersign/agent/state"
)

// untilHeld is ctx until the server holds the device off: nobody waits for an
// answer that does not come before somebody has looked at it.
func (p *profile) untilHeld(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	go func() {
		select {
		case <-held:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// holdOff follows a change of state. It expects p.mu held.
func (p *profile) holdOff(was, is string) {
	switch {
	case is == was:
	case is == state.Suspended:
		close(p.held)
	case was == state.Suspended:
		p.held = make(chan struct{})
	}
}

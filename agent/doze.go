package agent

import (
	"context"
	"math"
	"time"
)

// forever is how long doze waits where nothing comes of time alone.
const forever = time.Duration(math.MaxInt64)

// doze waits for d, for a wake-up, or for the end of ctx. It sets no timer where d
// is forever: a service that has nothing to wait for must not wake the processor.
func doze(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	var over <-chan time.Time // never
	if d < forever {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-over:
	case <-woken:
	}
}

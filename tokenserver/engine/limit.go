package engine

import (
	"sync"
	"time"
)

// limiter lets each key through so often in a window of time. It forgets what is
// over, so that it grows no larger than what one window brings.
type limiter struct {
	most   int
	window time.Duration

	mu    sync.Mutex
	began time.Time
	count map[string]int
}

// admit counts a call, and reports whether it is let through, and when the next
// one is that is.
func (l *limiter) admit(key string, now time.Time) (ok bool, again time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.began).Abs() >= l.window {
		l.began, l.count = now, map[string]int{}
	}
	if l.count[key] >= l.most {
		return false, l.began.Add(l.window)
	}
	l.count[key]++
	return true, now
}

// Package limit counts what may be done only so often.
package limit

import (
	"sync"
	"time"
)

// Limiter lets each key through so often in a window of time. It forgets what is
// over, so that it grows no larger than what one window brings. It is safe for
// concurrent use once its first two fields are set.
type Limiter struct {
	Most   int
	Window time.Duration

	mu    sync.Mutex
	began time.Time
	count map[string]int
}

// Admit counts a call, and reports whether it is let through, and when the next
// one is that is.
func (l *Limiter) Admit(key string, now time.Time) (ok bool, again time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	if l.count[key] >= l.Most {
		return false, l.began.Add(l.Window)
	}
	l.count[key]++
	return true, now
}

// turn begins a new window where the last is over. It expects mu held.
func (l *Limiter) turn(now time.Time) {
	if now.Sub(l.began).Abs() >= l.Window {
		l.began, l.count = now, map[string]int{}
	}
}

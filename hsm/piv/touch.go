//go:build cgo

package piv

import (
	"sync"
	"time"
)

// touchDelay is how long a touch may take before somebody is told to touch.
const touchDelay = 500 * time.Millisecond

// touchNotice tells a person once that the token waits for a touch, and never
// after end has returned.
type touchNotice struct {
	mu    sync.Mutex
	tell  func() // nil when there is nothing to tell any more
	timer *time.Timer
}

func newTouchNotice(r *reference, tell func()) *touchNotice {
	if r.touch != touchAlways {
		tell = nil
	}
	return &touchNotice{tell: tell}
}

// start is called when the card begins to wait.
func (n *touchNotice) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tell != nil {
		n.timer = time.AfterFunc(touchDelay, n.fire)
	}
}

func (n *touchNotice) fire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tell != nil {
		n.tell()
		n.tell = nil
	}
}

func (n *touchNotice) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell = nil
	if n.timer != nil {
		n.timer.Stop()
	}
}

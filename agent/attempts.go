package agent

import (
	"slices"
	"sync"
	"time"

	"countersign/ipc"
)

// A chip has little room, and each enrollment takes some before anybody knows
// whether it comes to anything.
const (
	attemptsPerMinute = 6
	maxUnfinished     = 4
)

// attempts are the enrollments of the last minute that came to nothing so far, by
// user. The zero value is ready.
type attempts struct {
	mu     sync.Mutex
	recent map[uint32][]time.Time
}

// admit counts another attempt, unless there were too many.
func (t *attempts) admit(uid uint32, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	recent := slices.DeleteFunc(t.recent[uid], func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	ok := len(recent) < attemptsPerMinute
	if ok {
		recent = append(recent, now)
	}
	if t.recent == nil {
		t.recent = map[uint32][]time.Time{}
	}
	t.recent[uid] = recent
	return ok
}

// succeeded forgets one.
func (t *attempts) succeeded(uid uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if list := t.recent[uid]; len(list) > 0 {
		t.recent[uid] = list[:len(list)-1]
	}
}

// admitAttempt keeps a program of a user from filling the chip.
func (a *Agent) admitAttempt(uid uint32, now time.Time) error {
	unfinished, err := a.cfg.State.Enrollments()
	if err != nil {
		a.cfg.Log.Error("some unfinished enrollments cannot be read", "error", err)
	}
	n := 0
	for _, e := range unfinished {
		if e.UID == uid {
			n++
		}
	}
	if n >= maxUnfinished || !a.attempts.admit(uid, now) {
		return ipc.Errorf(ipc.CodeTooManyEnrolling, "wait a minute, and try again", "too many enrollments of yours came to nothing or are unfinished")
	}
	return nil
}

package agent

import (
	"testing"
	"time"

	"countersign/ipc"
	"countersign/protocol"
)

func TestSoOftenInAMinute(t *testing.T) {
	t.Parallel()
	l := perMinute{most: 3}
	for n := range 10 {
		if got := l.admit(1, time.Duration(n)*time.Second); got != (n < 3) {
			t.Errorf("time %d: %v", n, got)
		}
	}
	if !l.admit(2, time.Second) {
		t.Error("another user is held up")
	}
	if l.forgive(1); !l.admit(1, 10*time.Second) || l.admit(1, 10*time.Second) {
		t.Error("what was forgiven counts")
	}
	if l.admit(1, 59*time.Second) || !l.admit(1, time.Minute) {
		t.Error("it is not a minute")
	}
	l.forgive(7) // who never came
}

// TestLinksLeaveRoomForCodes: what a desktop is made to open does not use up
// what a person types.
func TestLinksLeaveRoomForCodes(t *testing.T) {
	t.Parallel()
	l := newLimits()
	try := func(uid uint32, origin string, now time.Duration) bool {
		err := l.admitCode(uid, origin, now)
		if err != nil && codeOf(err) != ipc.CodeRateLimited {
			t.Fatal(err)
		}
		return err == nil
	}
	links, typed := 0, 0
	for range 100 {
		if try(1, protocol.OriginLink, time.Second) {
			links++
		}
	}
	for range 100 {
		if try(1, protocol.OriginTyped, 2*time.Second) {
			typed++
		}
	}
	if links != linksPerMinute || typed != codesPerMinute-linksPerMinute {
		t.Errorf("%d links and %d codes", links, typed)
	}
}

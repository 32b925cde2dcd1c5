package agent

import (
	"testing"
	"time"

	"countersign/ipc"
	"countersign/protocol"
)

// TestCodesAreTriedSeldom: for each user, and links leave room for what a
// person types.
func TestCodesAreTriedSeldom(t *testing.T) {
	t.Parallel()
	var c codes
	at := time.Unix(1000, 0)
	try := func(uid uint32, origin string, now time.Time) bool {
		err := c.admit(uid, origin, now)
		if err != nil && codeOf(err) != ipc.CodeRateLimited {
			t.Fatal(err)
		}
		return err == nil
	}
	for range 100 {
		try(1, protocol.OriginLink, at)
	}
	if try(1, protocol.OriginLink, at.Add(59*time.Second)) {
		t.Error("links are opened without end")
	}
	typed := 0
	for range 100 {
		if try(1, protocol.OriginTyped, at.Add(time.Second)) {
			typed++
		}
	}
	if typed != codesPerMinute-linksPerMinute {
		t.Errorf("beside the links %d codes were typed", typed)
	}
	if !try(2, protocol.OriginLink, at) {
		t.Error("another user is held up")
	}
	if !try(1, protocol.OriginLink, at.Add(time.Minute)) {
		t.Error("after a minute nothing was forgotten")
	}
}

package agent

import (
	"testing"

	"countersign/ipc"
)

func TestHubDropsWhoFallsBehind(t *testing.T) {
	h := newHub()
	slow, quick := h.subscribe(scopeOf(testUID).Covers, testUID, false), h.subscribe(scopeOf(testUID).Covers, testUID, false)
	other := h.subscribe(scopeOf(testUID+1).Covers, testUID+1, false)
	for range streamBuffer + 1 {
		h.publish(testUID, ipc.Event{Kind: ipc.EventPending}) // and does not wait
		<-quick.events
	}
	n := 0
	for range slow.events { // ends: it was dropped
		n++
	}
	if n != streamBuffer {
		t.Errorf("the slow one got %d events", n)
	}
	if len(other.events) != 0 {
		t.Error("another uid was told")
	}
	h.unsubscribe(slow)
	h.unsubscribe(slow)
	h.unsubscribe(quick)
	if len(h.subs) != 1 {
		t.Errorf("%d subscriptions are left", len(h.subs))
	}
}

// TestStreamsAreBounded: one user's streams leave room for the others'.
func TestStreamsAreBounded(t *testing.T) {
	h := newHub()
	var last *subscription
	for range maxStreams {
		if last = h.subscribe(scopeOf(testUID).Covers, testUID, false); last == nil {
			t.Fatal("too few")
		}
	}
	if h.subscribe(scopeOf(testUID).Covers, testUID, false) != nil {
		t.Error("too many")
	}
	if h.subscribe(scopeOf(testUID+1).Covers, testUID+1, false) == nil {
		t.Error("another user has none")
	}
	if h.unsubscribe(last); h.subscribe(scopeOf(testUID).Covers, testUID, false) == nil {
		t.Error("one that ended counts still")
	}
}

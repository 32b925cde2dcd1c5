package agent

import (
	"sync"

	"countersign/ipc"
)

// streamBuffer is how many events a helper may lag behind before its stream
// is ended; it then reconnects and is told everything anew.
const streamBuffer = 64

// hub hands events to the session helpers of the uid they are for.
type hub struct {
	mu   sync.Mutex
	subs map[*subscription]bool
}

type subscription struct {
	covers func(uid uint32) bool
	events chan ipc.Event
	// uid is whose helper it is, prompts whether it says that it can ask.
	uid     uint32
	prompts bool
}

func newHub() *hub { return &hub{subs: map[*subscription]bool{}} }

// subscribe makes a stream for a uid, or returns nil where it has as many as it
// may.
func (h *hub) subscribe(covers func(uint32) bool, uid uint32, prompts bool) *subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for s := range h.subs {
		if s.uid == uid {
			n++
		}
	}
	if n >= maxStreams {
		return nil
	}
	s := &subscription{covers, make(chan ipc.Event, streamBuffer), uid, prompts}
	h.subs[s] = true
	return s
}

func (h *hub) unsubscribe(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[s] {
		delete(h.subs, s)
		close(s.events)
	}
}

// maxStreams is how many streams one uid may hold, so that a program of theirs
// leaves room for the others' calls.
const maxStreams = 16

// prompting reports whether a helper of the uid can ask now.
func (h *hub) prompting(uid uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.uid == uid && s.prompts {
			return true
		}
	}
	return false
}

// publish never waits: a subscriber whose buffer is full is dropped.
func (h *hub) publish(uid uint32, e ipc.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if !s.covers(uid) {
			continue
		}
		select {
		case s.events <- e:
		default:
			delete(h.subs, s)
			close(s.events)
		}
	}
}

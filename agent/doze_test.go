package agent

import (
	"log/slog"
	"testing"
	"time"

	"countersign/agent/state"
)

// TestNothingToWaitForSetsNoTimer: what works in the background wakes the
// processor only where something comes of time.
func TestNothingToWaitForSetsNoTimer(t *testing.T) {
	s := newShelf()
	if _, next := s.due(); next != forever {
		t.Errorf("an empty list is looked at again in %v", next)
	}
	s.put("a", time.Hour)
	if _, next := s.due(); next != time.Minute {
		t.Errorf("a request that waits for an hour is looked at again in %v, and not in the minute that a suspend may last", next)
	}
	at := newAttention(BootTime, "b", state.Attention{}, 0, nil, slog.New(slog.DiscardHandler))
	if _, next := at.look(); next != forever {
		t.Errorf("who is prompted is looked at again in %v", next)
	}
	at.change(testUID, func(m *state.Mood) { m.Silent = at.now() + time.Hour })
	if _, next := at.look(); next != time.Minute {
		t.Errorf("who is silent for an hour is looked at again in %v", next)
	}
}

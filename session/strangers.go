package session

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"countersign/ipc"
)

const (
	// lull is how long nothing more comes when a burst of forged signals is
	// over, longest how long one is at most before it is told.
	lull    = 3 * time.Second
	longest = time.Minute
	// reportTime bounds the call that reports one.
	reportTime = 5 * time.Second
)

// strangers counts signals that a program sent in another's name, and tells of
// each kind once a burst, however many come.
type strangers struct {
	log       *slog.Logger
	incidents Incidents
	wake      chan struct{}

	mu     sync.Mutex
	counts map[string]int
	// sender is the one seen last; there may be more.
	sender string
}

func newStrangers(log *slog.Logger, incidents Incidents) *strangers {
	return &strangers{log: log, incidents: incidents, wake: make(chan struct{}, 1), counts: map[string]int{}}
}

// saw counts one signal. It does not wait.
func (s *strangers) saw(signal, sender string) {
	s.mu.Lock()
	s.counts[incidentKind(signal)]++
	s.sender = sender
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func incidentKind(signal string) string {
	switch signal[strings.LastIndexByte(signal, '.')+1:] {
	case "ActionInvoked":
		return ipc.IncidentForgedAction
	case "NotificationClosed":
		return ipc.IncidentForgedClose
	case "NameOwnerChanged":
		return ipc.IncidentForgedOwner
	}
	return ipc.IncidentForgedLogin
}

func (s *strangers) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			s.tell(context.WithoutCancel(ctx))
			return
		case <-s.wake:
			s.outlast(ctx)
			s.tell(ctx)
		}
	}
}

// outlast returns when a burst is over, or has lasted long enough.
func (s *strangers) outlast(ctx context.Context) {
	end := time.NewTimer(longest)
	defer end.Stop()
	quiet := time.NewTimer(lull)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-quiet.C:
			return
		case <-s.wake:
			quiet.Reset(lull)
		}
	}
}

func (s *strangers) tell(ctx context.Context) {
	s.mu.Lock()
	counts, sender := s.counts, s.sender
	s.counts = map[string]int{}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	for kind, count := range counts {
		s.log.Warn("a program sent signals in the name of another, and they were dropped", "kind", kind, "count", count, "last_sender", sender)
		if s.incidents == nil {
			continue
		}
		if err := s.incidents.Report(ctx, ipc.Incident{Kind: kind, Count: count}); err != nil {
			s.log.Info("the service was not told of it", "kind", kind, "error", err)
		}
	}
}

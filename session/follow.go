package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"countersign/ipc"
)

// How long to wait before the service is called again.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// event is an event of the service, or the start of a new stream.
type event struct {
	started bool
	ipc.Event
}

// ability says whether this session can ask its person now, once that is
// known. The service learns it with each stream.
type ability struct {
	mu      sync.Mutex
	known   bool
	can     bool
	changed chan struct{}
}

func newAbility() *ability { return &ability{changed: make(chan struct{})} }

func (a *ability) set(can bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known && a.can == can {
		return
	}
	a.known, a.can = true, can
	close(a.changed)
	a.changed = make(chan struct{})
}

// get returns what is known, and a channel that is closed when that changes.
func (a *ability) get() (can, known bool, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.can, a.known, a.changed
}

// errChanged ends a stream that told the service what is not true any more.
var errChanged = errors.New("the session can prompt now, or cannot any more")

// follow reads the service's events, stream after stream, until ctx ends.
func (s *Session) follow(ctx context.Context, able *ability, out chan<- event) {
	pause := firstPause
	away := false
	for ctx.Err() == nil {
		ready := false
		err := s.events(ctx, able, out, func() {
			if away {
				s.Log.Info("the service is back")
			}
			ready, away = true, false
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errChanged) {
			continue
		}
		if !away {
			s.Log.Warn("the service is away, waiting for it", "error", err)
			away = true
		}
		if ready {
			pause = firstPause
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// events passes on one stream.
func (s *Session) events(ctx context.Context, able *ability, out chan<- event, ready func()) error {
	can, known, changed := able.get()
	if !known {
		select {
		case <-ctx.Done():
		case <-changed:
		}
		return errChanged
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	defer close(ended)
	wg.Go(func() {
		select {
		case <-changed:
			cancel(errChanged)
		case <-ended:
		}
	})
	if err := send(ctx, out, event{started: true}); err != nil {
		return err
	}
	err := s.Service.Events(ctx, can, func(e ipc.Event) error {
		if e.Kind == ipc.EventReady {
			ready()
		}
		return send(ctx, out, event{Event: e})
	})
	if errors.Is(context.Cause(ctx), errChanged) {
		return errChanged
	}
	return err
}

func send(ctx context.Context, out chan<- event, e event) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case out <- e:
		return nil
	}
}

// sleep reports whether the whole time has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Package session is the prompt helper of one login session: it tells the user
// that requests wait, asks about one at a time, and hands the answers to the
// service.
//
// It runs as the user and holds no key. What it sends is a user's click and
// keystrokes; whoever runs as the same user can send the same. It promises
// that nothing but an answer given on a prompt is ever sent: not silence, not
// a closed window, not a click on a notification, and no answer twice.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/prompt"
	"countersign/session/text"
)

// Service is what the session needs of countersignd; *ipc.Caller has it.
type Service interface {
	Events(ctx context.Context, prompting bool, f func(ipc.Event) error) error
	Show(ctx context.Context, id string, v ipc.View) (ipc.Display, error)
	Decide(ctx context.Context, id string, a ipc.Answer) (ipc.Result, error)
}

// Notifier tells the user what waits. A click on what is offered arrives on
// Opens; Run works until ctx ends.
type Notifier interface {
	Run(ctx context.Context) error
	Offer(n notify.Note, why notify.Why)
	Withdraw()
	Tell(n notify.Note)
	Opens() <-chan struct{}
}

// Prompter asks the person. It returns prompt.ErrNoAnswer when nothing was
// decided, at the latest when ctx ends.
type Prompter interface {
	Ask(ctx context.Context, q prompt.Question) (ipc.Answer, error)
}

// Session is the prompt loop. Its fields are set before Run and not changed
// after.
type Session struct {
	Service  Service
	Notifier Notifier
	Prompter Prompter
	// View is how display records are rendered for the person here, Text what
	// else is said to them.
	View ipc.View
	Text text.Printer
	Log  *slog.Logger
	// Ready, unless nil, is called once: when the service has first told
	// everything that is pending.
	Ready func()
}

// Run works until ctx ends and then returns nil. A service that is absent, at
// the start or later, is waited for.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loop{
		Session:     s,
		stream:      make(chan event),
		done:        make(chan outcome),
		unconfirmed: map[string]string{},
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.follow(ctx, l.stream) })
	failed := make(chan error, 1)
	wg.Go(func() {
		if err := s.Notifier.Run(ctx); err != nil {
			failed <- fmt.Errorf("notifications: %w", err)
			cancel()
		}
	})
	l.run(ctx)
	cancel()
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

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

// follow reads the service's events, stream after stream, until ctx ends.
func (s *Session) follow(ctx context.Context, out chan<- event) {
	pause := firstPause
	away := false
	for ctx.Err() == nil {
		ready := false
		err := s.events(ctx, out, func() {
			if away {
				s.Log.Info("the service is back")
			}
			ready, away = true, false
		})
		if ctx.Err() != nil {
			return
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
func (s *Session) events(ctx context.Context, out chan<- event, ready func()) error {
	if err := send(ctx, out, event{started: true}); err != nil {
		return err
	}
	return s.Service.Events(ctx, true, func(e ipc.Event) error {
		if e.Kind == ipc.EventReady {
			ready()
		}
		return send(ctx, out, event{Event: e})
	})
}

func send(ctx context.Context, out chan<- event, e event) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
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

// noAnswer reports whether an error of a prompt means that nobody decided.
func noAnswer(err error) bool { return errors.Is(err, prompt.ErrNoAnswer) }

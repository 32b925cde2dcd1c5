// Package session is the prompt helper of one login session: it tells the user
// that requests wait, asks about one at a time, and hands the answers to the
// service.
//
// It runs as the user and holds no key. What it sends is a user's click and
// keystrokes; whoever runs as the same user can send the same. It promises
// that nothing but an answer given on a prompt is ever sent: not silence, not
// a closed window, not a click on a notification, and no answer twice.
//
// Where there is a login manager it prompts only in an active, local and
// unlocked session, and takes an open prompt away when that ends; the request
// waits and is offered again. That is a courtesy: whoever runs as the same user
// can tell the login manager otherwise.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"countersign/ipc"
	"countersign/session/logind"
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

// Seat tells whether anybody sits in front of this login session;
// *logind.Watcher has it. States delivers at least one.
type Seat interface {
	Run(ctx context.Context)
	States() <-chan logind.State
}

// Incidents is told of what somebody may want to know of later; *ipc.Caller has
// it.
type Incidents interface {
	Report(ctx context.Context, in ipc.Incident) error
}

// Session is the prompt loop. Its fields are set before Run and not changed
// after.
type Session struct {
	Service  Service
	Notifier Notifier
	Prompter Prompter
	// Seat, unless nil, keeps prompts to a session that is active, local and
	// unlocked.
	Seat Seat
	// Remote lets prompts appear in a remote session too.
	Remote bool
	// View is how display records are rendered for the person here, Text what
	// else is said to them.
	View ipc.View
	Text text.Printer
	Log  *slog.Logger
	// Guide, unless nil, leads the person to their enrollment.
	Guide *Guide
	// Ready, unless nil, is called once: when the service has first told
	// everything that is pending.
	Ready func()

	// strangers, unless nil, is told of forged signals.
	strangers *strangers
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
		phase:       make(chan phase),
		turn:        make(chan struct{}, 1),
		able:        newAbility(),
		open:        map[string]*opened{},
		skipped:     map[string]bool{},
		unconfirmed: map[string]string{},
	}
	var wg sync.WaitGroup
	if s.Seat == nil {
		l.seat = logind.State{}
		l.seated = true
		l.able.set(true)
	} else {
		l.states = s.Seat.States()
		wg.Go(func() { s.Seat.Run(ctx) })
	}
	if s.strangers != nil {
		wg.Go(func() { s.strangers.run(ctx) })
	}
	if s.Guide != nil {
		s.Guide.wants = make(chan *wanted, 1)
		wg.Go(func() { s.Guide.run(ctx) })
	}
	wg.Go(func() { s.follow(ctx, l.able, l.stream) })
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

// noAnswer reports whether an error of a prompt means that nobody decided.
func noAnswer(err error) bool { return errors.Is(err, prompt.ErrNoAnswer) }

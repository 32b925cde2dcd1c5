package session

import (
	"context"
	"fmt"
	"sync"

	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/prompt"
	"countersign/session/text"
)

// Terminal is notifier and prompter in one, on a terminal that the session has
// for itself. A request that arrives is shown at once; one that was left
// without an answer waits for Return to be pressed.
type Terminal struct {
	// Text speaks the person's language; it is set before use.
	Text text.Printer

	tty   *prompt.TTY
	opens chan struct{}
	again chan struct{}

	// turn is held by whoever reads the terminal.
	turn sync.Mutex

	mu      sync.Mutex
	note    *notify.Note
	arrived bool // something new has not been shown yet
	asking  bool
	// stopWaiting ends the wait for Return.
	stopWaiting context.CancelFunc
}

// NewTerminal makes a Terminal of a tty, which stays the caller's to close.
func NewTerminal(tty *prompt.TTY) *Terminal {
	return &Terminal{
		tty:         tty,
		opens:       make(chan struct{}, 1),
		again:       make(chan struct{}, 1),
		stopWaiting: func() {},
	}
}

// Opens delivers each wish to see the oldest request.
func (t *Terminal) Opens() <-chan struct{} { return t.opens }

// Offer says what waits. What has arrived is opened at once, or behind the
// open prompt; what remains is opened when Return is pressed.
func (t *Terminal) Offer(n notify.Note, why notify.Why) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note = &n
	t.arrived = t.arrived || why == notify.Arrived
	if why != notify.Changed && !t.asking {
		t.stopWaiting()
		poke(t.again)
	}
}

// Withdraw says that nothing waits.
func (t *Terminal) Withdraw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note, t.arrived = nil, false
	t.stopWaiting()
}

// Tell prints a message.
func (t *Terminal) Tell(n notify.Note) {
	fmt.Fprintln(t.tty, n.Summary)
	if n.Body != "" {
		fmt.Fprintln(t.tty, n.Body)
	}
}

// Ask implements Prompter.
func (t *Terminal) Ask(ctx context.Context, q prompt.Question) (ipc.Answer, error) {
	t.mu.Lock()
	t.asking = true
	t.stopWaiting()
	t.mu.Unlock()
	t.turn.Lock()
	defer func() {
		t.turn.Unlock()
		t.mu.Lock()
		t.asking = false
		t.mu.Unlock()
	}()
	return (&prompt.Terminal{TTY: t.tty}).Ask(ctx, q)
}

// Run opens what is offered, until ctx ends or the terminal is gone.
func (t *Terminal) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.again:
		}
		if err := t.serve(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// serve handles the offer as it is now.
func (t *Terminal) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	note, arrived, asking := t.note, t.arrived, t.asking
	t.arrived = false
	t.stopWaiting = cancel
	t.mu.Unlock()
	switch {
	case note == nil || asking:
		return nil
	case !arrived:
		t.turn.Lock()
		defer t.turn.Unlock()
		fmt.Fprintln(t.tty, t.Text.T("%s. Press Return to see it.", note.Summary))
		if err := t.tty.WaitReturn(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	poke(t.opens)
	return nil
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

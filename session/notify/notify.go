// Package notify shows, on the desktop, that something waits: one standing
// notification with one button or two, and short messages beside it.
//
// What it protects: a click is believed only when it comes from the very
// program that shows the notification, and names the secret key of the button
// shown last. Every program of the same user may send signals that claim to be
// a click, and any may press the real button too; so a click only opens a
// prompt and is never consent. A notification that is dismissed, expires or
// dies with its daemon decides nothing either. What was clicked on the moment it
// appeared was not meant, and is shown again.
//
// Notifications are shown on locked screens and kept in histories: the caller
// puts nothing into them that is not for everybody to see.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Note is what a notification says, in plain text.
type Note struct{ Summary, Body string }

// Words are what the Notifier adds to a Note, in the person's language.
type Words struct {
	// Open labels the button.
	Open string
	// Decline labels a second one; "" is none.
	Decline string
	// Middle says how to press it where a daemon shows none, Command what to
	// run where a daemon has none.
	Middle, Command string
}

// Why says what made the standing notification change.
type Why int

const (
	// Changed says that what waits is less than before, or a prompt was opened. This
	// brings nothing back that the user has dismissed.
	Changed Why = iota
	// Arrived says that something new waits.
	Arrived
	// Remains says that a prompt was closed and this waits still.
	Remains
)

// redial is how long to wait before another try to reach the bus.
const redial = 2 * time.Second

// Notifier keeps the user informed over the session bus. Its methods may be
// called from any goroutine, before and during Run, and do not wait.
type Notifier struct {
	// Stranger, unless nil, is called for each signal of a notification daemon
	// or the bus that came from another program; nil logs each. It must not
	// wait, and is set before Run.
	Stranger func(signal, sender string)
	// Words are the Notifier's own; set before Run.
	Words Words
	// Calm lets the desktop put the standing notification away where it keeps others,
	// since it is not urgent; set before Run.
	Calm bool

	address string
	log     *slog.Logger
	wake    chan struct{}
	opens   chan struct{}
	// declines is where there is a second button.
	declines chan struct{}

	mu    sync.Mutex
	offer offer
	tells []Note
}

// offer is what should stand on the screen, nothing when note is nil. Each
// change is a new version.
type offer struct {
	note    *Note
	anew    bool
	version int
}

// New makes a Notifier for the bus at a D-Bus address, with English words. Nothing happens before
// Run.
func New(address string, log *slog.Logger) *Notifier {
	words := Words{Open: "Open", Middle: "Middle-click to open.", Command: "To answer, run: countersign requests"}
	return &Notifier{Words: words, address: address, log: log, wake: make(chan struct{}, 1), opens: make(chan struct{}, 1), declines: make(chan struct{}, 1)}
}

// Address returns where the session bus of this login session is, "" when
// there is none. No bus is ever started.
func Address() string {
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, "bus")
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return ""
	}
	return "unix:path=" + path
}

// Opens delivers each click on the standing notification's button.
func (n *Notifier) Opens() <-chan struct{} { return n.opens }

// Declines delivers each click on the second button, and each time that the person
// puts the standing notification away. Without a second button there is none.
func (n *Notifier) Declines() <-chan struct{} { return n.declines }

// Offer makes the note the standing notification, in place of the one before.
// One that the user has dismissed comes back unless it merely Changed.
func (n *Notifier) Offer(note Note, why Why) { n.change(&note, why != Changed) }

// Withdraw takes the standing notification away.
func (n *Notifier) Withdraw() { n.change(nil, false) }

func (n *Notifier) change(note *Note, anew bool) {
	n.mu.Lock()
	n.offer = offer{note, anew, n.offer.version + 1}
	n.mu.Unlock()
	n.poke()
}

// maxTells is how many messages wait while there is no bus; the oldest go.
const maxTells = 8

// Tell shows a short message that goes away by itself. It is lost when no
// notification daemon runs.
func (n *Notifier) Tell(note Note) {
	n.mu.Lock()
	n.tells = append(n.tells, note)
	n.tells = n.tells[max(0, len(n.tells)-maxTells):]
	n.mu.Unlock()
	n.poke()
}

func (n *Notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// wanted returns the standing offer and takes the messages not yet told.
func (n *Notifier) wanted() (offer, []Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	tells := n.tells
	n.tells = nil
	return n.offer, tells
}

func (n *Notifier) stranger(signal, sender string) {
	if n.Stranger != nil {
		n.Stranger(signal, sender)
		return
	}
	n.log.Warn("a signal from a stranger was dropped", "signal", signal, "sender", sender)
}

func (n *Notifier) version() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.offer.version
}

// Run talks to the bus until ctx ends, and then takes the standing
// notification away. When the bus or the notification daemon goes away it
// waits for them to return and shows what still stands. It returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	away := false
	for ctx.Err() == nil {
		err := n.serve(ctx)
		if err != nil && (!away || errors.Is(err, errLost)) {
			n.log.Warn("the session bus is away, waiting for it", "error", err)
		}
		away = true
		timer := time.NewTimer(redial)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

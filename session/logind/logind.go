// Package logind knows, from systemd's login manager, whether anybody sits in
// front of this login session: whether it is active, local and unlocked, and
// whether the machine is about to sleep.
//
// It is a courtesy and no boundary: every program of the user may set and clear
// the lock hint. What it promises is that no other user and no other program
// than the login manager is believed: a signal is only a reason to ask again,
// and one that the login manager did not send is not even that. Where there is
// no login manager the State says so, and the caller decides what that means.
package logind

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// State is how the login session of this process stands.
type State struct {
	// Known says that the login manager has answered. Without it all else is
	// zero.
	Known bool
	// Session is the id of the session, "" where this process belongs to none
	// and its user has no graphical one either.
	Session string
	// Active says that it is the session in front, Remote that its person sits
	// at another machine, Locked that its screen is locked.
	Active, Remote, Locked bool
	// Asleep lasts from the moment before suspend until the resume.
	Asleep bool
}

// redial is how long to wait before another try to reach the bus.
const redial = 2 * time.Second

// Watcher follows the State. Its fields are set before Run and not changed
// after.
type Watcher struct {
	// Address is the D-Bus address of the system bus.
	Address string
	// SessionID is what the environment says of the session, or "". It is
	// believed where the kernel does not know better.
	SessionID string
	Log       *slog.Logger
	// Stranger, unless nil, is called for each signal of the login manager or
	// the bus that came from another program; it must not wait.
	Stranger func(signal, sender string)

	states chan State
}

// New makes a Watcher for this process, which reads DBUS_SYSTEM_BUS_ADDRESS and
// XDG_SESSION_ID. Nothing happens before Run.
func New(log *slog.Logger) *Watcher {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = "unix:path=/run/dbus/system_bus_socket"
	}
	return &Watcher{Address: address, SessionID: os.Getenv("XDG_SESSION_ID"), Log: log, states: make(chan State, 1)}
}

// States delivers the State, first as soon as it is known or known not to be,
// then when it has changed. A reader who is late gets the newest.
func (w *Watcher) States() <-chan State { return w.states }

// Run follows the State until ctx ends. While the bus or the login manager is
// away for a while the State stays as it was.
func (w *Watcher) Run(ctx context.Context) {
	told := tale{watcher: w}
	for ctx.Err() == nil {
		err := w.serve(ctx, &told)
		if ctx.Err() != nil {
			return
		}
		told.absent(err)
		timer := time.NewTimer(redial)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tale is what was said so far, so that nothing is said twice.
type tale struct {
	watcher *Watcher
	any     bool
	last    State
	warned  bool
}

func (t *tale) state(s State) {
	if t.any && s == t.last {
		return
	}
	t.any, t.last, t.warned = true, s, false
	select {
	case <-t.watcher.states:
	default:
	}
	t.watcher.states <- s
}

// absent says, once, that the login manager does not answer.
func (t *tale) absent(err error) {
	if !t.warned {
		t.watcher.Log.Info("the login manager does not answer", "error", err)
	}
	if !t.any {
		t.state(State{})
	}
	t.warned = true
}

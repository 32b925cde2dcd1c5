package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busName    = "org.freedesktop.DBus"
	busError   = busName + ".Error."
	busChanged = busName + ".NameOwnerChanged"

	// leaveTime bounds what is said to a daemon after the result is known.
	leaveTime = 2 * time.Second
)

// Bus is the system message bus. The zero Bus is the one that
// DBUS_SYSTEM_BUS_ADDRESS names, or the system's.
type Bus struct {
	// Address is a D-Bus address that is used instead.
	Address string
	// connect replaces how the bus is reached.
	connect func(opts ...dbus.ConnOption) (*dbus.Conn, error)
}

// line is a connection to the bus for one question to one daemon. Whatever the
// daemon keeps for us, such as a claimed reader, ends with it.
type line struct {
	conn *dbus.Conn
	name string
	// owner is the unique name behind name when the line was made. All is
	// asked of it, and only it is believed: a unique name is never used again,
	// and the bus lets nobody lie about theirs.
	owner   string
	signals chan *dbus.Signal
}

// dial connects, and finds who owns name; where nobody does, the bus is asked
// to start its daemon.
func (b Bus) dial(ctx context.Context, name string) (*line, error) {
	conn, err := b.open(ctx)
	if err != nil {
		return nil, cause(ctx, &Unavailable{Text: "the system message bus cannot be reached", Cure: "countersign doctor says of system_bus what mends it", Err: err})
	}
	l := &line{conn: conn, name: name, signals: make(chan *dbus.Signal, 16)}
	conn.Signal(l.signals)
	if err := l.find(ctx); err != nil {
		l.close()
		return nil, cause(ctx, err)
	}
	return l, nil
}

// Reach says whether the bus can be reached.
func (b Bus) Reach(ctx context.Context) error {
	conn, err := b.open(ctx)
	if err != nil {
		return cause(ctx, err)
	}
	return conn.Close()
}

// open connects. The end of ctx ends the attempt, and not the connection: what
// is left to say then is said by whoever closes it.
func (b Bus) open(ctx context.Context) (*dbus.Conn, error) {
	connCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	conn, err := b.reach(dbus.WithContext(connCtx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		cancel()
		return nil, err
	}
	context.AfterFunc(conn.Context(), cancel)
	if !stop() {
		return nil, errors.Join(context.Cause(ctx), conn.Close())
	}
	return conn, nil
}

func (b Bus) reach(opts ...dbus.ConnOption) (*dbus.Conn, error) {
	switch {
	case b.connect != nil:
		return b.connect(opts...)
	case b.Address != "":
		return dbus.Connect(b.Address, opts...)
	}
	return dbus.ConnectSystemBus(opts...)
}

// find records the owner of the name. It asks to be told of changes first, so
// that none is missed.
func (l *line) find(ctx context.Context) error {
	err := l.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, l.name))
	if err != nil {
		return &Unavailable{Text: "the system message bus refuses to work", Err: err}
	}
	if l.owner, err = l.ownerNow(ctx); err == nil {
		return nil
	}
	var started uint32
	if err := l.conn.BusObject().CallWithContext(ctx, busName+".StartServiceByName", 0, l.name, uint32(0)).Store(&started); err != nil {
		return &Unavailable{Text: "there is no " + l.name + " on the system bus", Cure: "install or start what offers it", Absent: isError(err, busError+"ServiceUnknown"), Err: err}
	}
	if l.owner, err = l.ownerNow(ctx); err != nil {
		return &Unavailable{Text: l.name + " did not start", Err: err}
	}
	return nil
}

func (l *line) ownerNow(ctx context.Context) (owner string, err error) {
	err = l.conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, l.name).Store(&owner)
	if err == nil && (owner == "" || owner[0] != ':') {
		err = fmt.Errorf("%q is no unique name", owner)
	}
	return owner, err
}

// still refuses a result that came while the name changed hands: whoever
// answered is not the system's daemon any more.
func (l *line) still(ctx context.Context) error {
	owner, err := l.ownerNow(ctx)
	if err == nil && owner != l.owner {
		err = fmt.Errorf("%s is %s now and was %s", l.name, owner, l.owner)
	}
	if err != nil {
		return cause(ctx, &Unavailable{Text: l.name + " went away", Err: err})
	}
	return nil
}

// call asks the owner that was recorded, and never starts another one.
func (l *line) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return l.conn.Object(l.owner, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// changed reports whether a signal is the bus's own word that the name has
// another owner, or none.
func (l *line) changed(s *dbus.Signal) bool {
	if s.Sender != busName || s.Name != busChanged || len(s.Body) == 0 {
		return false
	}
	name, ok := s.Body[0].(string)
	return ok && name == l.name
}

func (l *line) close() { _ = l.conn.Close() }

// leaving is a context for what is said after the result, whatever became of
// ctx.
func leaving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
}

// cause is why ctx ended where it has, which explains every other error.
func cause(ctx context.Context, err error) error {
	if ended := context.Cause(ctx); ended != nil {
		return ended
	}
	return err
}

// isError reports whether err is an error reply with this name.
func isError(err error, name string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == name
}

package logind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = service + ".Manager"
	bus     = "org.freedesktop.DBus"

	propertiesChanged = bus + ".Properties.PropertiesChanged"
	ownerChanged      = bus + ".NameOwnerChanged"

	// callLimit bounds each call: a login manager that hangs must not hang us.
	callLimit = 5 * time.Second
)

var errLost = errors.New("the system bus closed the connection")

// connection is one connection to the system bus, used by one goroutine only.
type connection struct {
	*Watcher
	conn *dbus.Conn
	// owner is the unique name of the login manager, "" while there is none.
	owner string
}

// serve connects and works until ctx ends or the bus goes away.
func (w *Watcher) serve(ctx context.Context, told *tale) error {
	conn, err := dbus.Connect(w.Address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return fmt.Errorf("system bus: %w", err)
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	c := &connection{Watcher: w, conn: conn}
	if err := c.subscribe(ctx); err != nil {
		return fmt.Errorf("system bus: %w", err)
	}
	for ask := true; ; {
		if ask {
			if err := c.tell(ctx, told); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-signals:
			if !ok {
				return errLost
			}
			ask = c.signal(s)
		}
	}
}

// tell reads the state and passes it on. Where no login manager runs the bus
// will say when one does.
func (c *connection) tell(ctx context.Context, told *tale) error {
	s, err := c.read(ctx)
	if e, ok := errors.AsType[dbus.Error](err); ok && e.Name == bus+".Error.ServiceUnknown" {
		told.absent(err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("login manager: %w", err)
	}
	told.state(s)
	return nil
}

func (c *connection) subscribe(ctx context.Context) error {
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(service), dbus.WithMatchInterface(manager)},
		{dbus.WithMatchSender(service), dbus.WithMatchPathNamespace(object), dbus.WithMatchMember("PropertiesChanged")},
		{dbus.WithMatchSender(bus), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service)},
	} {
		if err := c.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return err
		}
	}
	// None may run yet: the first call makes the bus start it, where it can.
	_ = c.call(ctx, c.conn.BusObject(), bus+".GetNameOwner", service).Store(&c.owner)
	return nil
}

// signal reports whether the state may have changed. The bus delivers what any
// program addresses to us, match rules or not, but it never lets a sender lie
// about who it is.
func (c *connection) signal(s *dbus.Signal) bool {
	switch {
	case s.Name == ownerChanged && s.Sender == bus:
		return c.newOwner(s.Body)
	case s.Name == ownerChanged:
	case strings.HasPrefix(s.Name, service+"."), s.Name == propertiesChanged:
		if c.owner != "" && s.Sender == c.owner {
			return true
		}
	default:
		return false
	}
	if c.Stranger != nil {
		c.Stranger(s.Name, s.Sender)
	}
	return false
}

// newOwner reports whether a login manager has appeared.
func (c *connection) newOwner(body []any) bool {
	var name, before, now string
	if dbus.Store(body, &name, &before, &now) != nil || name != service {
		return false
	}
	c.owner = now
	return now != ""
}

func (c *connection) call(ctx context.Context, o dbus.BusObject, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return o.CallWithContext(ctx, method, 0, args...)
}

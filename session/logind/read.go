package logind

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
)

// properties are those of one object. A missing one is the zero value of its
// type, as is one of another type.
type properties map[string]dbus.Variant

func get[T any](p properties, name string) (v T) {
	v, _ = p[name].Value().(T)
	return v
}

// read asks for the whole state. Nothing is kept from before: a login manager
// that has restarted, or a session that is another now, changes nothing.
func (c *connection) read(ctx context.Context) (State, error) {
	m, err := c.properties(ctx, object, manager)
	if err != nil {
		return State{}, err
	}
	s := State{Known: true, Asleep: get[bool](m, "PreparingForSleep")}
	p, err := c.session(ctx)
	if err != nil {
		return State{}, err
	}
	s.Session = get[string](p, "Id")
	s.Active = get[bool](p, "Active")
	s.Remote = get[bool](p, "Remote")
	s.Locked = get[bool](p, "LockedHint")
	return s, nil
}

// session finds the session of this process, nil where there is none: the one
// that the kernel has it in, the one that its environment names, or, for a
// service of the user's own, the one with the user's display.
func (c *connection) session(ctx context.Context) (properties, error) {
	login := c.conn.Object(service, object)
	ways := []func() (dbus.ObjectPath, error){
		func() (p dbus.ObjectPath, err error) {
			return p, c.call(ctx, login, manager+".GetSessionByPID", uint32(os.Getpid())).Store(&p)
		},
		func() (p dbus.ObjectPath, err error) {
			if c.SessionID == "" {
				return "", nil
			}
			return p, c.call(ctx, login, manager+".GetSession", c.SessionID).Store(&p)
		},
		func() (dbus.ObjectPath, error) { return c.display(ctx, login) },
	}
	for _, way := range ways {
		p, err := c.found(ctx, way)
		if err != nil && !isNone(err) {
			return nil, err
		}
		if own(p) {
			return p, nil
		}
	}
	return nil, nil
}

func (c *connection) found(ctx context.Context, way func() (dbus.ObjectPath, error)) (properties, error) {
	path, err := way()
	if err != nil || len(path) < len("/x") {
		return nil, err
	}
	return c.properties(ctx, path, service+".Session")
}

// isNone reports whether an error is the login manager's word that there is no
// such session, or that it has gone meanwhile.
func isNone(err error) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && (strings.HasPrefix(e.Name, service+".") || e.Name == bus+".Error.UnknownObject")
}

// own reports whether a session is one of this user's that people sit in: no
// greeter, no user manager and nothing in the background.
func own(p properties) bool {
	user := get[[]any](p, "User")
	return len(user) > 0 && user[0] == uint32(os.Getuid()) && strings.HasPrefix(get[string](p, "Class"), "user")
}

// display is the session that the login manager calls the user's display, "/"
// or an error where there is none.
func (c *connection) display(ctx context.Context, login dbus.BusObject) (dbus.ObjectPath, error) {
	var user dbus.ObjectPath
	if err := c.call(ctx, login, manager+".GetUser", uint32(os.Getuid())).Store(&user); err != nil {
		return "", err
	}
	p, err := c.properties(ctx, user, service+".User")
	if err != nil {
		return "", err
	}
	var path dbus.ObjectPath
	if d := get[[]any](p, "Display"); len(d) == 2 {
		path, _ = d[1].(dbus.ObjectPath)
	}
	return path, nil
}

func (c *connection) properties(ctx context.Context, path dbus.ObjectPath, of string) (p properties, err error) {
	return p, c.call(ctx, c.conn.Object(service, path), bus+".Properties.GetAll", of).Store(&p)
}

package testenv

import (
	"maps"
	"os"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const (
	loginName = "org.freedesktop.login1"
	loginPath = dbus.ObjectPath("/org/freedesktop/login1")
)

// Login answers as systemd's login manager does, as far as a session helper
// asks, on a private bus. It does what RealLogin cannot be made to do there:
// change sessions, suspend, and run for any user.
type Login struct {
	tb   testing.TB
	conn *dbus.Conn

	mu       sync.Mutex
	byPID    string
	display  string
	sleeping bool
	sessions map[string]map[string]dbus.Variant
}

// LoginSession is how a session of this user stands.
type LoginSession struct {
	Active, Remote, Locked bool
	// Class is "user" when empty.
	Class string
}

// StartLogin starts a Login. In it this process is in no session and its user
// has no display.
func StartLogin(tb testing.TB, address string) *Login {
	tb.Helper()
	l := &Login{tb: tb, conn: Stranger(tb, address), sessions: map[string]map[string]dbus.Variant{}}
	for _, o := range []struct {
		v       any
		path    dbus.ObjectPath
		subtree bool
		iface   string
	}{
		{loginManager{l}, loginPath, false, loginName + ".Manager"},
		{loginProperties{l}, loginPath, true, "org.freedesktop.DBus.Properties"},
	} {
		export := l.conn.Export
		if o.subtree {
			export = l.conn.ExportSubtree
		}
		if err := export(o.v, o.path, o.iface); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := l.conn.RequestName(loginName, dbus.NameFlagDoNotQueue); err != nil {
		tb.Fatal(err)
	}
	return l
}

// Stop ends it; the bus says so.
func (l *Login) Stop() { l.conn.Close() }

// Owner is its unique name on the bus.
func (l *Login) Owner() string { return l.conn.Names()[0] }

// Set makes or changes a session, and says so on the bus.
func (l *Login) Set(id string, s LoginSession) {
	l.tb.Helper()
	if s.Class == "" {
		s.Class = "user"
	}
	user := struct {
		UID  uint32
		Path dbus.ObjectPath
	}{uint32(os.Getuid()), loginPath + "/user/self"}
	l.mu.Lock()
	l.sessions[id] = map[string]dbus.Variant{
		"Id": dbus.MakeVariant(id), "User": dbus.MakeVariant(user), "Class": dbus.MakeVariant(s.Class),
		"Active": dbus.MakeVariant(s.Active), "Remote": dbus.MakeVariant(s.Remote), "LockedHint": dbus.MakeVariant(s.Locked),
	}
	l.mu.Unlock()
	l.changed(sessionPath(id), ".Session")
}

// Belongs makes this process belong to a session, and its user to a display;
// "" is none.
func (l *Login) Belongs(byPID, display string) {
	l.mu.Lock()
	l.byPID, l.display = byPID, display
	l.mu.Unlock()
	l.changed(loginPath+"/user/self", ".User")
}

// Sleep says that the machine is about to sleep, or has woken up.
func (l *Login) Sleep(about bool) {
	l.tb.Helper()
	l.mu.Lock()
	l.sleeping = about
	l.mu.Unlock()
	if err := l.conn.Emit(loginPath, loginName+".Manager.PrepareForSleep", about); err != nil {
		l.tb.Fatal(err)
	}
}

func (l *Login) changed(path dbus.ObjectPath, of string) {
	l.tb.Helper()
	err := l.conn.Emit(path, "org.freedesktop.DBus.Properties.PropertiesChanged", loginName+of, map[string]dbus.Variant{}, []string{"Active"})
	if err != nil {
		l.tb.Fatal(err)
	}
}

func sessionPath(id string) dbus.ObjectPath { return loginPath + "/session/" + dbus.ObjectPath(id) }

// loginManager are the methods of the manager.
type loginManager struct{ l *Login }

func (m loginManager) find(id, failure string) (dbus.ObjectPath, *dbus.Error) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	if m.l.sessions[id] == nil {
		return "/", dbus.NewError(loginName+"."+failure, nil)
	}
	return sessionPath(id), nil
}

// GetSessionByPID is the session a process is in.
func (m loginManager) GetSessionByPID(uint32) (dbus.ObjectPath, *dbus.Error) {
	m.l.mu.Lock()
	id := m.l.byPID
	m.l.mu.Unlock()
	return m.find(id, "NoSessionForPID")
}

// GetSession is a session by its id.
func (m loginManager) GetSession(id string) (dbus.ObjectPath, *dbus.Error) {
	return m.find(id, "NoSuchSession")
}

// GetUser is a user who is logged in.
func (m loginManager) GetUser(uint32) (dbus.ObjectPath, *dbus.Error) {
	return loginPath + "/user/self", nil
}

// loginProperties are those of all objects.
type loginProperties struct{ l *Login }

// GetAll returns the properties of the object that the message goes to.
func (p loginProperties) GetAll(m dbus.Message, of string) (map[string]dbus.Variant, *dbus.Error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	switch of {
	case loginName + ".Manager":
		return map[string]dbus.Variant{"PreparingForSleep": dbus.MakeVariant(p.l.sleeping)}, nil
	case loginName + ".User":
		display := struct {
			ID   string
			Path dbus.ObjectPath
		}{p.l.display, "/"}
		if p.l.display != "" {
			display.Path = sessionPath(p.l.display)
		}
		return map[string]dbus.Variant{"Display": dbus.MakeVariant(display)}, nil
	}
	for id, s := range p.l.sessions {
		if sessionPath(id) == path {
			return maps.Clone(s), nil
		}
	}
	return nil, dbus.NewError("org.freedesktop.DBus.Error.UnknownObject", nil)
}

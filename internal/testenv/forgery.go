package testenv

import (
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Forgery is a signal that a program sends in the name of another. The bus puts
// the true sender into it whatever it claims.
type Forgery struct {
	Path              dbus.ObjectPath
	Interface, Member string
	Body              []any
}

// Broadcast sends it to whoever listens to such signals.
func (f Forgery) Broadcast(tb testing.TB, from *dbus.Conn) {
	tb.Helper()
	f.send(tb, from, nil)
}

// SendToAll sends it straight to every connection of the bus, which no match
// rule keeps away.
func (f Forgery) SendToAll(tb testing.TB, from *dbus.Conn) {
	tb.Helper()
	for _, name := range Connections(tb, from) {
		f.SendTo(tb, from, name)
	}
}

// SendTo sends it straight to one connection.
func (f Forgery) SendTo(tb testing.TB, from *dbus.Conn, name string) {
	tb.Helper()
	f.send(tb, from, map[dbus.HeaderField]dbus.Variant{dbus.FieldDestination: dbus.MakeVariant(name)})
}

// Connections are the unique names of all others on the bus.
func Connections(tb testing.TB, conn *dbus.Conn) (others []string) {
	tb.Helper()
	var names []string
	if err := conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, ":") && name != conn.Names()[0] {
			others = append(others, name)
		}
	}
	return others
}

func (f Forgery) send(tb testing.TB, from *dbus.Conn, more map[dbus.HeaderField]dbus.Variant) {
	tb.Helper()
	m := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldInterface: dbus.MakeVariant(f.Interface),
			dbus.FieldMember:    dbus.MakeVariant(f.Member),
			dbus.FieldPath:      dbus.MakeVariant(f.Path),
			dbus.FieldSender:    dbus.MakeVariant(f.Interface),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(f.Body...)),
		},
		Body: f.Body,
	}
	for field, value := range more {
		m.Headers[field] = value
	}
	if call := from.Send(m, nil); call != nil && call.Err != nil {
		tb.Fatal(call.Err)
	}
}

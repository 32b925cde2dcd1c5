package notify

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/godbus/dbus/v5"
)

// encoded is a signal as the bus delivers it.
func encoded(f *testing.F, sender, iface, member string, body ...any) []byte {
	f.Helper()
	m := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
			dbus.FieldPath: dbus.MakeVariant(object), dbus.FieldSender: dbus.MakeVariant(sender),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var out bytes.Buffer
	if err := m.EncodeTo(&out, binary.LittleEndian); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

// header is a text in a message's header, "" where it is missing or no text.
func header(m *dbus.Message, field dbus.HeaderField) string {
	text, _ := m.Headers[field].Value().(string)
	return text
}

// FuzzSignal reads signals of any shape. Only the owner's word about the very
// notification, with its key, may open anything.
func FuzzSignal(f *testing.F) {
	const owner, id, key = ":1.5", uint32(7), "open-0123456789abcdef0123456789abcdef"
	f.Add(encoded(f, owner, service, "ActionInvoked", id, key))
	f.Add(encoded(f, owner, service, "ActionInvoked", id, "default"))
	f.Add(encoded(f, ":1.6", service, "ActionInvoked", id, key))
	f.Add(encoded(f, owner, service, "NotificationClosed", id, uint32(2)))
	f.Add(encoded(f, owner, service, "NotificationClosed"))
	f.Add(encoded(f, bus, bus, "NameOwnerChanged", service, owner, ""))
	f.Add(encoded(f, bus, bus, "NameOwnerChanged", uint64(1), []string{"x"}, true))
	f.Fuzz(func(t *testing.T, message []byte) {
		m, err := dbus.DecodeMessage(bytes.NewReader(message))
		if err != nil {
			return
		}
		path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
		s := &dbus.Signal{
			Sender: header(m, dbus.FieldSender), Path: path, Body: m.Body,
			Name: header(m, dbus.FieldInterface) + "." + header(m, dbus.FieldMember),
		}
		n := New("", slog.New(slog.DiscardHandler))
		c := &connection{n: n, owner: owner, id: id, key: key}
		c.signal(s)
		meant := s.Sender == owner && s.Name == service+".ActionInvoked" && len(s.Body) == 2 && s.Body[0] == id && s.Body[1] == key
		if (len(n.opens) > 0) != (meant && s.Path == object) {
			t.Errorf("%d openings by %+v", len(n.opens), s)
		}
		if c.id == 0 && s.Sender != owner && s.Sender != bus {
			t.Errorf("%+v was believed", s)
		}
	})
}

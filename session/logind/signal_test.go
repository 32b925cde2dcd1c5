package logind

import (
	"bytes"
	"encoding/binary"
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
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
		},
		Body: body,
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

// FuzzSignal reads signals of any shape, and properties too. Only what the
// login manager or the bus sent makes anybody ask again.
func FuzzSignal(f *testing.F) {
	const owner = ":1.5"
	f.Add(encoded(f, owner, bus+".Properties", "PropertiesChanged", service+".Session", map[string]dbus.Variant{"Active": dbus.MakeVariant(true)}, []string{}))
	f.Add(encoded(f, ":1.6", manager, "PrepareForSleep", false))
	f.Add(encoded(f, bus, bus, "NameOwnerChanged", service, owner, ":1.9"))
	f.Add(encoded(f, bus, bus, "NameOwnerChanged", []byte("x"), int64(1)))
	f.Fuzz(func(t *testing.T, message []byte) {
		m, err := dbus.DecodeMessage(bytes.NewReader(message))
		if err != nil {
			return
		}
		s := &dbus.Signal{
			Sender: header(m, dbus.FieldSender), Body: m.Body,
			Name: header(m, dbus.FieldInterface) + "." + header(m, dbus.FieldMember),
		}
		c := &connection{Watcher: &Watcher{}, owner: owner}
		if c.signal(s) && s.Sender != owner && s.Sender != bus {
			t.Errorf("%+v was believed", s)
		}
		if c.owner != owner && s.Sender != bus {
			t.Errorf("%+v changed the owner", s)
		}
		for _, v := range m.Body {
			if p, ok := v.(map[string]dbus.Variant); ok && own(p) && p["User"].Value() == nil {
				t.Errorf("a session of nobody is ours: %v", p)
			}
		}
	})
}

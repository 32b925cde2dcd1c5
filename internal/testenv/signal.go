package testenv

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
)

// EncodedSignal is a signal as a bus delivers it: what a fuzz test of a
// program's ears begins with.
func EncodedSignal(tb testing.TB, sender string, path dbus.ObjectPath, iface, member string, body ...any) []byte {
	tb.Helper()
	m := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
			dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldSender: dbus.MakeVariant(sender),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var out bytes.Buffer
	if err := m.EncodeTo(&out, binary.LittleEndian); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// DecodedSignal is what godbus makes of a message off the bus, nil where it is
// none.
func DecodedSignal(message []byte) *dbus.Signal {
	m, err := dbus.DecodeMessage(bytes.NewReader(message))
	if err != nil {
		return nil
	}
	header := func(field dbus.HeaderField) string {
		text, _ := m.Headers[field].Value().(string)
		return text
	}
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	return &dbus.Signal{
		Sender: header(dbus.FieldSender), Path: path, Body: m.Body,
		Name: header(dbus.FieldInterface) + "." + header(dbus.FieldMember),
	}
}

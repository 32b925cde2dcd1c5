package verify

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/godbus/dbus/v5"
)

// FuzzDBus reads bytes as the body of a message with any signature, as the bus
// would deliver it: only one body is a finger that matched, and only one a yes
// of polkit's.
func FuzzDBus(f *testing.F) {
	seed := func(args ...any) {
		var b bytes.Buffer
		msg := &dbus.Message{
			Type: dbus.TypeSignal, Body: args,
			Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/")),
				dbus.FieldInterface: dbus.MakeVariant("a.b"),
				dbus.FieldMember:    dbus.MakeVariant("c"),
				dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(args...)),
			},
		}
		if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	seed("verify-match", true)
	seed("verify-match", false)
	seed("verify-no-match", true)
	seed("verify-retry-scan", false)
	seed("verify-match", "true")
	seed(verdict{true, false, map[string]string{"polkit.temporary_authorization_id": "x"}})
	seed(verdict{true, false, map[string]string{}})
	seed(verdict{false, true, map[string]string{"polkit.dismissed": "true"}})
	seed(map[string]dbus.Variant{"a": dbus.MakeVariant(verdict{})})
	seed(fprint, ":1.1", "")
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := dbus.DecodeMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if s, err := parseFinger(msg.Body); err == nil && s.matched && (len(msg.Body) != 2 || msg.Body[0] != "verify-match" || msg.Body[1] != true) {
			t.Errorf("%v is a match", msg.Body)
		}
		if v, err := parseVerdict(msg.Body); err == nil && v.judge() == nil && (!v.Authorized || v.Challenge) {
			t.Errorf("%v is a yes", msg.Body)
		}
		l := &line{name: fprint}
		l.changed(&dbus.Signal{Sender: busName, Name: busChanged, Body: msg.Body})
	})
}

// FuzzPluginAnswer: what is taken is, to any JSON parser, a yes or a no to this
// question.
func FuzzPluginAnswer(f *testing.F) {
	for _, s := range []string{
		`{"version":1,"nonce":"N","verified":true}`, `{"version":1,"nonce":"N","verified":false,"hint":"retry"}` + "\n",
		`{"version":1,"nonce":"N","verified":false,"verified":true}`, `{"version":1e0,"nonce":"N","verified":true}`,
		`{"version":1,"nonce":"N","verified":true}{}`, `{"version":1,"nonce":"N","verified":[true]}`, `[]`, `{`, "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		a, err := parseAnswer(out, "N")
		if err != nil {
			return
		}
		var got struct {
			Version  int    `json:"version"`
			Nonce    string `json:"nonce"`
			Verified bool   `json:"verified"`
		}
		if err := json.Unmarshal(out, &got); err != nil || got.Version != pluginVersion || got.Nonce != "N" || got.Verified != a.verified {
			t.Errorf("%q is %+v, and to others %+v, %v", out, a, got, err)
		}
	})
}

package logind

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
)

// FuzzSignal reads signals of any shape, and properties too. Only what the
// login manager or the bus sent makes anybody ask again.
func FuzzSignal(f *testing.F) {
	const owner = ":1.5"
	f.Add(testenv.EncodedSignal(f, owner, object, bus+".Properties", "PropertiesChanged", service+".Session", map[string]dbus.Variant{"Active": dbus.MakeVariant(true)}, []string{}))
	f.Add(testenv.EncodedSignal(f, ":1.6", object, manager, "PrepareForSleep", false))
	f.Add(testenv.EncodedSignal(f, bus, object, bus, "NameOwnerChanged", service, owner, ":1.9"))
	f.Add(testenv.EncodedSignal(f, bus, object, bus, "NameOwnerChanged", []byte("x"), int64(1)))
	f.Fuzz(func(t *testing.T, message []byte) {
		s := testenv.DecodedSignal(message)
		if s == nil {
			return
		}
		c := &connection{Watcher: &Watcher{}, owner: owner}
		if c.signal(s) && s.Sender != owner && s.Sender != bus {
			t.Errorf("%+v was believed", s)
		}
		if c.owner != owner && s.Sender != bus {
			t.Errorf("%+v changed the owner", s)
		}
		for _, v := range s.Body {
			if p, ok := v.(map[string]dbus.Variant); ok && own(p) && p["User"].Value() == nil {
				t.Errorf("a session of nobody is ours: %v", p)
			}
		}
	})
}

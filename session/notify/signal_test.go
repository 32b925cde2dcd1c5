package notify

import (
	"log/slog"
	"testing"

	"countersign/internal/testenv"
)

// FuzzSignal reads signals of any shape. Only the owner's word about the very
// notification, with its key, may open anything.
func FuzzSignal(f *testing.F) {
	const owner, id, key = ":1.5", uint32(7), "open-0123456789abcdef0123456789abcdef"
	f.Add(testenv.EncodedSignal(f, owner, object, service, "ActionInvoked", id, key))
	f.Add(testenv.EncodedSignal(f, owner, object, service, "ActionInvoked", id, "default"))
	f.Add(testenv.EncodedSignal(f, ":1.6", object, service, "ActionInvoked", id, key))
	f.Add(testenv.EncodedSignal(f, owner, object, service, "NotificationClosed", id, uint32(2)))
	f.Add(testenv.EncodedSignal(f, owner, object, service, "NotificationClosed"))
	f.Add(testenv.EncodedSignal(f, bus, object, bus, "NameOwnerChanged", service, owner, ""))
	f.Add(testenv.EncodedSignal(f, bus, object, bus, "NameOwnerChanged", uint64(1), []string{"x"}, true))
	f.Fuzz(func(t *testing.T, message []byte) {
		s := testenv.DecodedSignal(message)
		if s == nil {
			return
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

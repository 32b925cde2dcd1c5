package session_test

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/notify"
)

// incidents is the service as far as it is told of forged signals.
type incidents struct {
	mu      sync.Mutex
	reports map[string]int
	signals map[string]int
}

func newIncidents() *incidents {
	return &incidents{reports: map[string]int{}, signals: map[string]int{}}
}

func (i *incidents) Report(_ context.Context, in ipc.Incident) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reports[in.Kind]++
	i.signals[in.Kind] += in.Count
	return nil
}

func (i *incidents) told() (reports, signals map[string]int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.reports), maps.Clone(i.signals)
}

// forgeries are a signal of each kind that matters, as true as another program
// can make it.
func forgeries(id uint32, key, self string) map[string]testenv.Forgery {
	const notifications, login = "org.freedesktop.Notifications", "org.freedesktop.login1"
	return map[string]testenv.Forgery{
		ipc.IncidentForgedAction: {Path: "/org/freedesktop/Notifications", Interface: notifications, Member: "ActionInvoked", Body: []any{id, key}},
		ipc.IncidentForgedClose:  {Path: "/org/freedesktop/Notifications", Interface: notifications, Member: "NotificationClosed", Body: []any{id, uint32(2)}},
		ipc.IncidentForgedOwner: {
			Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "NameOwnerChanged",
			Body: []any{notifications, "", self},
		},
		ipc.IncidentForgedLogin: {
			Path: "/org/freedesktop/login1/session/c1", Interface: "org.freedesktop.DBus.Properties", Member: "PropertiesChanged",
			Body: []any{login + ".Session", map[string]dbus.Variant{"LockedHint": dbus.MakeVariant(false)}, []string{}},
		},
	}
}

// TestForgedSignals sends a thousand of each kind, half to all and half
// straight to the session, half from a program of the same user and half from
// one of another, with the id and the secret key of the very notification.
func TestForgedSignals(t *testing.T) {
	t.Parallel()
	system := testenv.StartBus(t)
	testenv.StartLogin(t, system.Address).Set("c1", testenv.LoginSession{Active: true})
	svc := newService(t)
	svc.start()
	d := testenv.StartDesktop(t)
	seen := newIncidents()
	join(t, d, svc, func(s *session.Session, n *notify.Notifier) {
		n.Stranger = s.Watch(seen)
		w := seat(system, "c1", svc.log)
		w.Stranger = n.Stranger
		s.Seat = w
	})
	svc.add(request("t1"))
	d.WaitNotification()
	key := regexp.MustCompile(`open-[0-9a-f]{32}`).FindString(d.NotificationLog())
	login := forgeries(1, key, "")[ipc.IncidentForgedLogin]
	desktop := []*dbus.Conn{testenv.Stranger(t, d.BusAddress), testenv.StrangerOfAnotherUser(t, d.LetOthersIn())}
	machine := []*dbus.Conn{testenv.Stranger(t, system.Address), testenv.StrangerOfAnotherUser(t, system.Socket())}
	for at, from := range desktop {
		kinds := forgeries(1, key, from.Names()[0])
		delete(kinds, ipc.IncidentForgedLogin)
		for _, f := range kinds {
			forge(t, f, from)
		}
		forge(t, login, machine[at])
	}
	testenv.Eventually(t, "each kind is told", func() bool { reports, _ := seen.told(); return len(reports) == 4 })
	reports, signals := seen.told()
	for _, kind := range ipc.IncidentKinds() {
		if reports[kind] != 1 || signals[kind] < 500 {
			t.Errorf("%s: %d reports of %d signals", kind, reports[kind], signals[kind])
		}
	}
	if a, _ := svc.given(); len(a) > 0 || d.HasWindow("Countersign") {
		t.Errorf("%d decisions, or a prompt", len(a))
	}
	if d.Displayed() != "1" {
		t.Error("the notification is gone")
	}
	open(d)
}

func forge(t *testing.T, f testenv.Forgery, from *dbus.Conn) {
	t.Helper()
	to := testenv.Connections(t, from)
	for range 250 {
		f.Broadcast(t, from)
		for _, name := range to {
			f.SendTo(t, from, name)
		}
	}
}

// usurper takes the place of the notification daemon.
type usurper struct {
	mu  sync.Mutex
	key string
}

func (*usurper) GetCapabilities() ([]string, *dbus.Error) { return []string{"actions"}, nil }

func (*usurper) GetServerInformation() (name, vendor, version, spec string, err *dbus.Error) {
	return "usurper", "", "", "1.2", nil
}

func (u *usurper) Notify(_ string, _ uint32, _, _, _ string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(actions) > 0 {
		u.key = actions[0]
	}
	return 1, nil
}

func (*usurper) CloseNotification(uint32) *dbus.Error { return nil }

func (u *usurper) shown() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.key
}

// TestTakenOverName has a program wait in line for the daemon's name and then
// click a thousand times on what it is given to show. It is the daemon now: a
// prompt may open, and that is all.
func TestTakenOverName(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	d.WaitNotification()
	u := &usurper{}
	conn := testenv.Stranger(t, d.BusAddress)
	if err := conn.Export(u, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.Notifications", 0); err != nil {
		t.Fatal(err)
	}
	d.StopDaemon()
	testenv.Eventually(t, "the usurper is asked to show it", func() bool { return u.shown() != "" })
	testenv.WaitMeant()
	for range 1000 {
		kinds := forgeries(1, u.shown(), conn.Names()[0])
		kinds[ipc.IncidentForgedAction].Broadcast(t, conn)
		kinds[ipc.IncidentForgedAction].SendToAll(t, conn)
	}
	d.Answerable("Countersign request") // it opened one
	for range 1000 {
		kinds := forgeries(1, u.shown(), conn.Names()[0])
		kinds[ipc.IncidentForgedClose].SendToAll(t, conn)
		kinds[ipc.IncidentForgedOwner].SendToAll(t, conn)
	}
	if n := len(d.WindowNames()); n != 1 {
		t.Errorf("%d windows", n)
	}
	d.XdoKey("Escape")
	d.WaitNoWindow("Countersign")
	if a, _ := svc.given(); len(a) > 0 || len(svc.pending()) != 1 {
		t.Errorf("%d decisions, pending %q", len(a), svc.pending())
	}
}

// TestABurstIsToldOnce has forged signals come in two bursts, the second of
// which does not end by itself.
func TestABurstIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := newIncidents()
		s := &session.Session{Log: slog.New(slog.DiscardHandler)}
		saw := s.Watch(seen)
		ctx, cancel := context.WithCancel(t.Context())
		go s.TellOfStrangers(ctx)
		for n, signal := range []string{"a.ActionInvoked", "a.NotificationClosed", "a.ActionInvoked", "org.freedesktop.login1.Manager.PrepareForSleep"} {
			<-time.After(time.Duration(n) * 900 * time.Millisecond)
			saw(signal, ":1."+strconv.Itoa(n))
		}
		<-time.After(2900 * time.Millisecond)
		if reports, _ := seen.told(); len(reports) > 0 {
			t.Errorf("told %v before it was over", reports)
		}
		<-time.After(200 * time.Millisecond)
		reports, signals := seen.told()
		if reports[ipc.IncidentForgedAction] != 1 || signals[ipc.IncidentForgedAction] != 2 || reports[ipc.IncidentForgedClose] != 1 || reports[ipc.IncidentForgedLogin] != 1 {
			t.Errorf("told %v of %v", reports, signals)
		}
		for range 90 {
			saw("a.NameOwnerChanged", ":1.9")
			<-time.After(time.Second)
		}
		if reports, _ = seen.told(); reports[ipc.IncidentForgedOwner] != 1 {
			t.Errorf("told %v while it goes on, want once a minute", reports)
		}
		cancel()
		synctest.Wait()
		if reports, _ = seen.told(); reports[ipc.IncidentForgedOwner] != 2 {
			t.Errorf("told %v at the end", reports)
		}
	})
}

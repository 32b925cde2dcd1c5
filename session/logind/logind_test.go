package logind_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
	"countersign/session/logind"
)

// watch starts a Watcher on a bus of its own.
func watch(t *testing.T, b *testenv.Bus, sessionID string) (*logind.Watcher, *atomic.Int64) {
	t.Helper()
	w := logind.New(slog.New(slog.DiscardHandler))
	w.Address, w.SessionID = b.Address, sessionID
	var strangers atomic.Int64
	w.Stranger = func(string, string) { strangers.Add(1) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w, &strangers
}

// until waits for a state, past others.
func until(t *testing.T, w *logind.Watcher, want logind.State) {
	t.Helper()
	late := time.After(20 * time.Second)
	var last logind.State
	for {
		select {
		case last = <-w.States():
			if last == want {
				return
			}
		case <-late:
			t.Fatalf("the state is %+v, want %+v", last, want)
		}
	}
}

func TestSessionThatThisProcessIsIn(t *testing.T) {
	t.Parallel()
	const mine, named, shown = "c1", "c2", "c3"
	for _, tt := range []struct {
		name                 string
		byPID, env, display  string
		classOfMine, expects string
	}{
		{"the kernel's word", mine, named, shown, "user", mine},
		{"not one in the background", mine, named, shown, "background", named},
		{"the environment's", "", named, shown, "user", named},
		{"an environment of long ago", "", "c77", shown, "user", shown},
		{"a service of the user", "", "", shown, "user", shown},
		{"none", "", "", "", "user", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := testenv.StartBus(t)
			login := testenv.StartLogin(t, b.Address)
			login.Set(mine, testenv.LoginSession{Active: true, Class: tt.classOfMine})
			login.Set(named, testenv.LoginSession{Active: true})
			login.Set(shown, testenv.LoginSession{Active: true})
			login.Belongs(tt.byPID, tt.display)
			w, _ := watch(t, b, tt.env)
			until(t, w, logind.State{Known: true, Session: tt.expects, Active: tt.expects != ""})
		})
	}
}

func TestStateFollowsTheLoginManager(t *testing.T) {
	t.Parallel()
	b := testenv.StartBus(t)
	w, strangers := watch(t, b, "")
	until(t, w, logind.State{}) // none yet
	login := testenv.StartLogin(t, b.Address)
	until(t, w, logind.State{Known: true})
	login.Set("c1", testenv.LoginSession{Active: true})
	login.Belongs("", "c1")
	until(t, w, logind.State{Known: true, Session: "c1", Active: true})
	login.Set("c1", testenv.LoginSession{Active: true, Locked: true})
	until(t, w, logind.State{Known: true, Session: "c1", Active: true, Locked: true})
	login.Set("c1", testenv.LoginSession{Remote: true})
	until(t, w, logind.State{Known: true, Session: "c1", Remote: true})
	login.Sleep(true)
	until(t, w, logind.State{Known: true, Session: "c1", Remote: true, Asleep: true})
	login.Sleep(false)
	until(t, w, logind.State{Known: true, Session: "c1", Remote: true})

	login.Stop() // and nothing changes until another says otherwise
	login = testenv.StartLogin(t, b.Address)
	until(t, w, logind.State{Known: true})
	login.Stop()
	b.Stop()
	b.Start()
	login = testenv.StartLogin(t, b.Address)
	login.Set("c2", testenv.LoginSession{Active: true})
	login.Belongs("c2", "")
	until(t, w, logind.State{Known: true, Session: "c2", Active: true})
	if n := strangers.Load(); n > 0 {
		t.Errorf("%d signals of the login manager were taken for forged", n)
	}
}

// TestForgedSignalsChangeNothing has others say what the login manager would.
func TestForgedSignalsChangeNothing(t *testing.T) {
	t.Parallel()
	b := testenv.StartBus(t)
	login := testenv.StartLogin(t, b.Address)
	login.Set("c1", testenv.LoginSession{Active: true, Locked: true})
	login.Belongs("c1", "")
	w, strangers := watch(t, b, "")
	until(t, w, logind.State{Known: true, Session: "c1", Active: true, Locked: true})
	conn := testenv.Stranger(t, b.Address)
	forged := []testenv.Forgery{
		{Path: "/org/freedesktop/login1", Interface: "org.freedesktop.login1.Manager", Member: "PrepareForSleep", Body: []any{false}},
		{Path: "/org/freedesktop/login1/session/c1", Interface: "org.freedesktop.DBus.Properties", Member: "PropertiesChanged", Body: []any{
			"org.freedesktop.login1.Session", map[string]dbus.Variant{"LockedHint": dbus.MakeVariant(false)}, []string{},
		}},
		{Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "NameOwnerChanged", Body: []any{"org.freedesktop.login1", "", conn.Names()[0]}},
	}
	const times = 100
	for range times {
		for _, f := range forged {
			f.SendToAll(t, conn)
		}
	}
	testenv.Eventually(t, "all are counted", func() bool { return strangers.Load() >= int64(times*len(forged)) })
	select {
	case s := <-w.States():
		t.Errorf("the state became %+v", s)
	default:
	}
	login.Set("c1", testenv.LoginSession{Active: true})
	until(t, w, logind.State{Known: true, Session: "c1", Active: true})
}

// TestRealLoginManager follows systemd's own.
func TestRealLoginManager(t *testing.T) {
	t.Parallel()
	b := testenv.StartBus(t)
	login := testenv.StartRealLogin(t, b, false)
	w, strangers := watch(t, b, "")
	here := logind.State{Known: true, Session: "c1", Active: true}
	locked, far := here, here
	locked.Locked, far.Remote = true, true
	until(t, w, here)
	for range 3 {
		login.SetLockedHint(true)
		until(t, w, locked)
		login.SetLockedHint(false)
		until(t, w, here)
	}
	login.Stop()
	login.Start(true)
	until(t, w, far)
	if n := strangers.Load(); n > 0 {
		t.Errorf("%d signals of the login manager were taken for forged", n)
	}
}

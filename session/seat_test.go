package session_test

import (
	"log/slog"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/logind"
	"countersign/session/notify"
)

// seated starts a desktop whose session is "c1" at a login manager.
func seated(t *testing.T, first testenv.LoginSession) (*testenv.Desktop, *service, *testenv.Login) {
	t.Helper()
	t.Parallel()
	system := testenv.StartBus(t)
	login := testenv.StartLogin(t, system.Address)
	login.Set("c1", first)
	svc := newService(t)
	svc.start()
	d := testenv.StartDesktop(t)
	join(t, d, svc, func(s *session.Session, _ *notify.Notifier) { s.Seat = seat(system, "c1", svc.log) })
	return d, svc, login
}

func seat(system *testenv.Bus, id string, log *slog.Logger) *logind.Watcher {
	w := logind.New(log)
	w.Address, w.SessionID = system.Address, id
	return w
}

func TestALockedScreenTellsNothing(t *testing.T) {
	d, svc, login := seated(t, testenv.LoginSession{Active: true, Locked: true})
	svc.waitPrompting("")
	svc.add(request("t1"))
	waitTold(t, d, "A request is waiting")
	d.DunstAction() // as whoever stands in front of it may
	svc.add(request("t2"))
	waitTold(t, d, "2 requests are waiting")
	if log := d.NotificationLog(); strings.Contains(log, "Test Bank") || d.HasWindow("Countersign") {
		t.Errorf("a locked screen tells too much: %s", log)
	}
	login.Set("c1", testenv.LoginSession{Active: true})
	svc.waitPrompting("1")
	waitTold(t, d, "The next is from Test Bank")
	open(d)
}

// TestNobodyThereTakesThePromptAway has the person leave in each way, and come
// back.
func TestNobodyThereTakesThePromptAway(t *testing.T) {
	here := testenv.LoginSession{Active: true}
	d, svc, login := seated(t, here)
	svc.add(request("t1"))
	for _, tt := range []struct {
		name        string
		leave, back func()
		shown       string
	}{
		{"locked", func() { login.Set("c1", testenv.LoginSession{Active: true, Locked: true}) }, func() { login.Set("c1", here) }, "1"},
		{"another session in front", func() { login.Set("c1", testenv.LoginSession{}) }, func() { login.Set("c1", here) }, "0"},
		{"suspend", func() { login.Sleep(true) }, func() { login.Sleep(false) }, "0"},
		{"no session any more", func() { login.Set("c1", testenv.LoginSession{Class: "manager"}) }, func() { login.Set("c1", here) }, "0"},
		{"somebody far away", func() { login.Set("c1", testenv.LoginSession{Active: true, Remote: true}) }, func() { login.Set("c1", here) }, "0"},
	} {
		open(d)
		approvePage(d)
		d.WaitWindow("Countersign number")
		tt.leave()
		d.WaitNoWindow("Countersign")
		svc.waitPrompting("")
		testenv.Eventually(t, tt.name+": what is shown", func() bool { return d.Displayed() == tt.shown })
		tt.back()
		svc.waitPrompting("1")
		d.WaitNotification()
	}
	open(d)
	deny(d)
	if got := svc.waitAnswers(1); len(got) != 1 || got[0].Decision != ipc.Deny {
		t.Errorf("answers %+v", got)
	}
}

func TestWhatIsTold(t *testing.T) {
	d, svc, login := seated(t, testenv.LoginSession{Active: true})
	svc.unconfirmed = true
	svc.add(request("t1"))
	open(d)
	deny(d)
	waitTold(t, d, "Not confirmed yet")
	login.Set("c1", testenv.LoginSession{Active: true, Locked: true})
	svc.waitPrompting("")
	svc.confirm("t1", ipc.Deny)
	svc.add(request("t2"))
	waitTold(t, d, "A request is waiting")
	if strings.Contains(d.NotificationLog(), "Sent to Test Bank") {
		t.Error("a locked screen tells what was decided")
	}
	login.Set("c1", testenv.LoginSession{Active: true})
	waitTold(t, d, "Sent to Test Bank: denied")
}

// TestTwoSessionsOfOneUser has the active one show what both are told.
func TestTwoSessionsOfOneUser(t *testing.T) {
	t.Parallel()
	system := testenv.StartBus(t)
	login := testenv.StartLogin(t, system.Address)
	login.Set("c1", testenv.LoginSession{Active: true})
	login.Set("c2", testenv.LoginSession{})
	svc := newService(t)
	svc.start()
	desktops := map[string]*testenv.Desktop{}
	for _, id := range []string{"c1", "c2"} {
		desktops[id] = testenv.StartDesktop(t)
		join(t, desktops[id], svc, func(s *session.Session, _ *notify.Notifier) { s.Seat = seat(system, id, svc.log) })
	}
	svc.add(request("t1"))
	desktops["c1"].WaitNotification()
	if n := desktops["c2"].Displayed(); n != "0" {
		t.Errorf("%s notifications in the session that is not in front", n)
	}
	open(desktops["c1"])
	login.Set("c1", testenv.LoginSession{})
	login.Set("c2", testenv.LoginSession{Active: true})
	desktops["c1"].WaitNoWindow("Countersign")
	desktops["c1"].WaitNoNotification()
	open(desktops["c2"])
	denyPage(desktops["c2"])
	desktops["c2"].Answerable("Countersign denial")
	approvePage(desktops["c2"])
	svc.waitAnswers(1)
	login.Set("c1", testenv.LoginSession{Active: true})
	svc.add(request("t2"))
	desktops["c1"].WaitNotification()
	if a, _ := svc.given(); len(a) != 1 {
		t.Errorf("%d answers", len(a))
	}
}

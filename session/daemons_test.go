package session_test

import (
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/notify"
	"countersign/session/prompt"
)

// backWithin is how soon what waits is shown again.
const backWithin = 5 * time.Second

// TestDaemons goes the whole way with each real notification daemon, by clicks
// and keys alone.
func TestDaemons(t *testing.T) {
	for _, kind := range testenv.Daemons() {
		t.Run(kind.Name, func(t *testing.T) {
			d, svc := desktopWith(t, kind)
			answerByClicks(t, d, svc, kind)
			replacedNotPiledUp(t, d, svc)
			nothingForTheBody(t, d, svc)
			backAfterRestart(t, d)
			endedElsewhere(d, svc)
		})
	}
}

func desktopWith(t *testing.T, kind testenv.Daemon) (*testenv.Desktop, *service) {
	t.Helper()
	t.Parallel()
	d := testenv.StartDesktopWith(t, kind)
	svc := newService(t)
	svc.start()
	join(t, d, svc, nil)
	return d, svc
}

// join runs a session that joins the two, and waits until it is ready. The
// change, unless nil, is made to it before.
func join(t *testing.T, d *testenv.Desktop, svc *service, change func(*session.Session, *notify.Notifier)) {
	t.Helper()
	ready := make(chan struct{})
	n := notify.New(d.BusAddress, svc.log)
	s := &session.Session{
		Service:  ipc.Dial(svc.socket),
		Notifier: n,
		Prompter: &prompt.Pinentry{Program: "pinentry-gtk-2", Display: d.Display},
		Log:      svc.log,
		Ready:    func() { close(ready) },
	}
	if change != nil {
		change(s, n)
	}
	run(t, s)
	<-ready
}

func answerByClicks(t *testing.T, d *testenv.Desktop, svc *service, kind testenv.Daemon) {
	t.Helper()
	svc.add(request("t1"))
	d.Shot("notification-"+kind.Name, func() testenv.Area { return d.WaitShown(1) })
	d.PressOpen()
	d.Answerable("Countersign request")
	d.Shot("prompt", d.Focused)
	approvePage(d)
	typeIn(d, "Countersign number", "42")
	typeIn(d, "Countersign PIN", "123456")
	if got := svc.waitAnswers(1)[0]; got.Decision != ipc.Approve || got.Number != "42" {
		t.Errorf("answer %+v", got)
	}
	d.WaitNoWindow("Countersign")
	d.PressBody() // of what is told
	d.WaitShown(0)
}

func replacedNotPiledUp(t *testing.T, d *testenv.Desktop, svc *service) {
	t.Helper()
	svc.add(request("t2"))
	d.WaitShown(1)
	for _, id := range []string{"t3", "t4"} {
		before := d.Screen()
		svc.add(request(id))
		testenv.Eventually(t, "the notification changes", func() bool { return string(d.Screen().Pix) != string(before.Pix) })
	}
	d.WaitShown(1)
}

// nothingForTheBody clicks where there is no button. Some daemons send
// "default" then, some dismiss the notification, and no prompt may open.
func nothingForTheBody(t *testing.T, d *testenv.Desktop, svc *service) {
	t.Helper()
	d.PressBody()
	d.WaitShown(0)
	svc.add(request("t5")) // brings it back
	d.WaitShown(1)
	if d.HasWindow("Countersign request") {
		t.Error("a click beside the button opened the prompt")
	}
}

func backAfterRestart(t *testing.T, d *testenv.Desktop) {
	t.Helper()
	for what, restart := range map[string]func(){
		"the daemon": func() { d.StopDaemon(); d.StartDaemon() },
		"the bus":    func() { d.StopDaemon(); d.StopBus(); d.StartBus(); d.StartDaemon() },
	} {
		restart()
		began := time.Now()
		d.WaitShown(1)
		took := time.Since(began)
		t.Logf("shown %v after %s was back", took.Round(time.Millisecond), what)
		if took > backWithin {
			t.Errorf("it took %v until it was shown after %s was back", took, what)
		}
	}
}

// endedElsewhere has the server end all of it: another device answered.
func endedElsewhere(d *testenv.Desktop, svc *service) {
	for _, id := range svc.pending() {
		svc.close(id, "approved")
	}
	d.WaitShown(0)
}

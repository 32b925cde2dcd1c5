package session_test

import (
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
)

// desktop starts a desktop, a service and a session that joins them.
func desktop(t *testing.T) (*testenv.Desktop, *service) {
	t.Helper()
	d := testenv.StartDesktop(t)
	for name, value := range d.Vars() {
		t.Setenv(name, value)
	}
	svc := newService(t)
	svc.start()
	ready := make(chan struct{})
	s, err := session.New(session.Config{
		Service: ipc.Dial(svc.socket), Prompt: session.Desktop, Pinentry: "pinentry-gtk-2",
		Log: svc.log, Ready: func() { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	<-ready
	return d, svc
}

func TestApproveWithNumberAndPIN(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	d.WaitNotification()
	d.DunstAction()
	d.Answerable("Countersign request")
	d.XdoKey("shift+Tab", "Return")
	d.Answerable("Countersign number")
	d.XdoType("42")
	d.XdoKey("Return")
	d.Answerable("Countersign PIN")
	d.XdoType("123456")
	d.XdoKey("Return")
	got := svc.waitAnswers(1)[0]
	if got.Decision != ipc.Approve || got.Number != "42" || got.Surface != ipc.SurfacePrompt {
		t.Errorf("answer %+v", got)
	}
	if _, pins := svc.given(); pins[0] != "123456" {
		t.Error("another PIN arrived")
	}
	testenv.Eventually(t, "sent is told", func() bool {
		return strings.Contains(d.NotificationLog(), "Sent to Test Bank: approved")
	})
	if strings.Contains(d.NotificationLog(), "Hooli") {
		t.Error("a notification tells what the request is about")
	}
}

package session_test

import (
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/prompt"
)

// onTerminal runs a session on a terminal until stop.
func onTerminal(t *testing.T) (sc *testenv.Screen, svc *service, stop func()) {
	t.Helper()
	t.Parallel()
	sc, pts := testenv.OpenScreen(t)
	tty, err := prompt.NewTTY(pts)
	if err != nil {
		t.Fatal(err)
	}
	svc = newService(t)
	svc.start()
	term := session.NewTerminal(tty)
	return sc, svc, run(t, &session.Session{Service: ipc.Dial(svc.socket), Notifier: term, Prompter: term, Log: svc.log})
}

func TestSessionOnATerminal(t *testing.T) {
	sc, svc, stop := onTerminal(t)
	svc.add(request("t1"))
	sc.Expect("Server: https://bank.example")
	sc.Expect("[a/d/n] ")
	sc.Type("\n")
	sc.Expect("Approval request from Test Bank. Press Return to see it.")
	sc.Type("\n")
	sc.Expect("[a/d/n] ")
	sc.Type("a\n")
	sc.Expect("Number shown by Test Bank: ")
	sc.Type("42\n")
	sc.Expect("PIN: ")
	sc.Type("123456\n")
	sc.Expect("Sent to Test Bank: approved")
	if got := svc.waitAnswers(1)[0]; got.Surface != ipc.SurfaceTTY || got.Number != "42" {
		t.Errorf("answer %+v", got)
	}
	svc.add(request("t2"))
	sc.Expect("[a/d/n] ")
	svc.add(request("t3"))
	svc.close("t2", "expired")
	sc.Expect("is over")
	sc.Expect("[a/d/n] ")
	sc.Type("n\n")
	if got := svc.waitAnswers(2)[1]; got.RequestHash != "req-t3" || got.Reason != ipc.NotMe {
		t.Errorf("answer %+v", got)
	}
	sc.Expect("Sent to Test Bank: denied")
	stop()
	if strings.Contains(sc.Text(), "123456") {
		t.Error("the PIN was echoed")
	}
}

func TestTouchIsAskedForOnATerminal(t *testing.T) {
	sc, svc, stop := onTerminal(t)
	defer stop()
	d := request("t1")
	svc.add(d)
	sc.Expect("[a/d/n] ")
	svc.emit(ipc.Event{Kind: ipc.EventTouch, Request: &d.Request})
	sc.Expect("Touch your token")
	sc.Expect("answer to Test Bank")
	svc.emit(ipc.Event{Kind: ipc.EventTouch})
	sc.Expect("enrollment")
	svc.emit(ipc.Event{Kind: ipc.EventVerify, Request: &d.Request, Hint: "place_finger"})
	sc.Expect("Place your finger on the reader.")
	sc.Expect("answer to Test Bank")
}

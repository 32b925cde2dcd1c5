package session_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
)

// desktop starts a desktop, a service and a session that joins them.
func desktop(t *testing.T) (*testenv.Desktop, *service) {
	t.Helper()
	return desktopWith(t, testenv.Daemons()[0])
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

// open waits for the offer, takes it, and waits until the prompt answers.
func open(d *testenv.Desktop) {
	d.WaitNotification()
	d.DunstAction()
	d.Answerable("Countersign request")
}

// approvePage presses Continue, which is not what has the focus first.
func approvePage(d *testenv.Desktop) { d.XdoKey("shift+Tab", "Return") }

// denyPage presses Deny, or Not me.
func denyPage(d *testenv.Desktop) { d.XdoKey("Tab", "Return") }

// deny presses Deny, and confirms that.
func deny(d *testenv.Desktop) {
	denyPage(d)
	d.Answerable("Countersign denial")
	approvePage(d)
}

func typeIn(d *testenv.Desktop, title, text string) {
	d.Answerable(title)
	d.XdoType(text)
	d.XdoKey("Return")
}

func waitTold(t *testing.T, d *testenv.Desktop, text string) {
	t.Helper()
	testenv.Eventually(t, "told: "+text, func() bool { return strings.Contains(d.NotificationLog(), text) })
}

func TestDenyAsksWhoItWas(t *testing.T) {
	for _, tt := range []struct {
		press  func(*testenv.Desktop)
		reason string
	}{
		{approvePage, ipc.Cancelled},
		{denyPage, ipc.NotMe},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			d, svc := desktop(t)
			svc.add(request("t1"))
			open(d)
			denyPage(d)
			d.Answerable("Countersign denial")
			tt.press(d)
			got := svc.waitAnswers(1)[0]
			if got.Decision != ipc.Deny || got.Reason != tt.reason {
				t.Errorf("answer %+v", got)
			}
			waitTold(t, d, "Sent to Test Bank: denied")
		})
	}
}

// TestNoAnswerLeavesItPending closes every page with Escape, and the first
// with Return on what has the focus, too.
func TestNoAnswerLeavesItPending(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	for _, page := range []string{"focus", "request", "denial", "number", "PIN"} {
		open(d)
		switch page {
		case "focus":
			d.XdoKey("Return")
			d.WaitNoWindow("Countersign")
			continue
		case "denial":
			denyPage(d)
		case "number", "PIN":
			approvePage(d)
		}
		if page == "PIN" {
			typeIn(d, "Countersign number", "42")
		}
		d.Answerable("Countersign " + page)
		d.XdoKey("Escape")
		d.WaitNoWindow("Countersign")
	}
	d.WaitNotification()
	if a, _ := svc.given(); len(a) > 0 || len(svc.pending()) != 1 {
		t.Errorf("%d answers, pending %q", len(a), svc.pending())
	}
}

func tries(n int) *int { return &n }

func TestWhatWasWrongIsAskedAgain(t *testing.T) {
	d, svc := desktop(t)
	svc.refuse = func(a ipc.Answer, pin string) *ipc.Error {
		switch {
		case pin != "123456":
			return &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong", TriesLeft: tries(4)}
		case a.Number != "42":
			return &ipc.Error{Code: ipc.CodeWrongNumber, Message: "the number is wrong", TriesLeft: tries(2)}
		}
		return nil
	}
	svc.add(request("t1"))
	open(d)
	approvePage(d)
	typeIn(d, "Countersign number", "41")
	typeIn(d, "Countersign PIN", "000000")
	svc.waitAnswers(1)
	typeIn(d, "Countersign PIN", "123456")
	svc.waitAnswers(2)
	typeIn(d, "Countersign number", "42")
	typeIn(d, "Countersign PIN", "123456")
	svc.waitAnswers(3)
	waitTold(t, d, "Sent to Test Bank: approved")
}

func TestLockedPINIsTold(t *testing.T) {
	d, svc := desktop(t)
	svc.refuse = func(ipc.Answer, string) *ipc.Error {
		return &ipc.Error{Code: ipc.CodePINLocked, Message: "the PIN is locked", Cure: "enroll again", TriesLeft: tries(0)}
	}
	svc.add(request("t1"))
	open(d)
	approvePage(d)
	typeIn(d, "Countersign number", "42")
	typeIn(d, "Countersign PIN", "000000")
	waitTold(t, d, "the PIN is locked. Tries left: 0.")
	if a, _ := svc.given(); len(a) != 1 {
		t.Errorf("%d answers were sent", len(a))
	}
}

func TestUnconfirmedIsToldAndThenTheTruth(t *testing.T) {
	d, svc := desktop(t)
	svc.unconfirmed = true
	svc.add(request("t1"))
	open(d)
	deny(d)
	waitTold(t, d, "Not confirmed yet: denied for Test Bank")
	if strings.Contains(d.NotificationLog(), "Sent to") {
		t.Error("sent was told too early")
	}
	svc.confirm("t1", ipc.Deny)
	waitTold(t, d, "Sent to Test Bank: denied")
}

func TestOnePromptAtATimeOldestFirst(t *testing.T) {
	d, svc := desktop(t)
	first, second := request("t1"), request("t2")
	second.Account = "second@bank.example"
	second.NumberDigits, second.PINNeeded = 0, false
	first.NumberDigits, first.PINNeeded = 0, false
	svc.add(first)
	svc.add(second)
	waitTold(t, d, "2 approval requests")
	open(d)
	d.WaitWindow("alice@bank.example")
	if d.HasWindow("second@") {
		t.Error("two prompts are open")
	}
	if n := d.Displayed(); n != "1" {
		t.Errorf("%s notifications stand, want one for the other request", n)
	}
	approvePage(d)
	svc.waitAnswers(1)
	d.WaitNoWindow("Countersign request")
	waitTold(t, d, "Sent to Test Bank: approved")
	if d.HasWindow("second@") {
		t.Error("the next prompt opened by itself")
	}
}

func TestAnEndedRequestClosesItsPrompt(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	open(d)
	approvePage(d)
	d.WaitWindow("Countersign number")
	svc.close("t1", "expired")
	d.WaitNoWindow("Countersign")
	waitTold(t, d, "The request from Test Bank is over")
	svc.add(request("t2"))
	d.WaitNotification()
	svc.close("t2", "cancelled")
	testenv.Eventually(t, "the offer is withdrawn", func() bool { return d.Displayed() != "2" })
	if a, _ := svc.given(); len(a) > 0 {
		t.Error("an answer was sent")
	}
}

func TestDismissedStaysPendingAndIsNotShownAgainForNothing(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	d.WaitNotification()
	d.DunstClose()
	d.WaitNoNotification()
	svc.add(request("t2"))
	waitTold(t, d, "2 approval requests")
	d.WaitNotification()
}

func TestServiceRestart(t *testing.T) {
	d, svc := desktop(t)
	svc.stop()
	svc.add(request("t1"))
	svc.add(request("t2"))
	svc.start()
	waitTold(t, d, "2 approval requests")
	svc.stop()
	svc.mu.Lock()
	delete(svc.requests, "t2")
	svc.mu.Unlock()
	svc.start()
	waitTold(t, d, "Approval request from Test Bank")
	open(d)
}

func TestDaemonAndBusRestart(t *testing.T) {
	d, svc := desktop(t)
	svc.add(request("t1"))
	d.WaitNotification()
	d.StopDaemon()
	d.StartDaemon()
	d.WaitNotification()
	d.StopDaemon()
	d.StopBus()
	d.StartBus()
	d.StartDaemon()
	d.WaitNotification()
	open(d)
}

func TestReadyComesWithTheService(t *testing.T) {
	d := testenv.StartDesktop(t)
	for name, value := range d.Vars() {
		t.Setenv(name, value)
	}
	svc := newService(t)
	svc.add(request("t1"))
	ready := make(chan struct{})
	s, err := session.New(session.Config{
		Service: ipc.Dial(svc.socket), Prompt: session.Auto, Pinentry: "pinentry-gtk-2",
		Log: svc.log, Ready: func() { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	select {
	case <-ready:
		t.Fatal("ready without a service")
	default:
	}
	svc.start()
	<-ready
	d.WaitNotification()
}

func TestQuietIsNotPromptedFor(t *testing.T) {
	d, svc := desktop(t)
	quiet := request("t1")
	quiet.Quiet = ipc.QuietMuted
	svc.add(quiet)
	loud := request("t2")
	loud.Account = "second@bank.example"
	svc.add(loud)
	d.WaitNotification()
	if strings.Contains(d.NotificationLog(), "2 approval requests") {
		t.Error("what is muted is counted")
	}
	open(d)
	d.WaitWindow("second@bank.example")
	d.XdoKey("Escape")
	d.WaitNoWindow("Countersign")
	quiet.Quiet = ""
	svc.add(quiet)
	waitTold(t, d, "2 approval requests")
	if a, _ := svc.given(); len(a) > 0 {
		t.Error("an answer was sent")
	}
}

func TestTheEndOfAnEnrollmentIsTold(t *testing.T) {
	d, svc := desktop(t)
	svc.mu.Lock()
	svc.emit(ipc.Event{Kind: ipc.EventProfile, Profile: &ipc.Profile{User: "alice", Server: "https://bank.example", State: "active"}})
	svc.emit(ipc.Event{Kind: ipc.EventProfile, Profile: &ipc.Profile{User: "alice", Server: "https://bank.example", State: "revoked"}})
	svc.mu.Unlock()
	waitTold(t, d, "The server ended your enrollment")
	if !strings.Contains(d.NotificationLog(), "alice at https://bank.example") {
		t.Error("it is not said which one")
	}
	by := time.Now().AddDate(0, 0, 9)
	svc.mu.Lock()
	svc.emit(ipc.Event{Kind: ipc.EventProfile, Profile: &ipc.Profile{ID: "p_x", User: "alice", Server: "https://bank.example", State: "active", RenewBy: &by}})
	svc.mu.Unlock()
	waitTold(t, d, "Renew your key")
	if !strings.Contains(d.NotificationLog(), "countersign renew p_x") {
		t.Error("it is not said how")
	}
}

package session_test

import (
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/prompt"
)

// screen is the person's side of a terminal.
type screen struct {
	t    *testing.T
	ptmx io.ReadWriter
	mu   sync.Mutex
	text strings.Builder
	seen int
}

func newScreen(t *testing.T) (*screen, *prompt.TTY) {
	t.Helper()
	ptmx, pts, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	tty, err := prompt.NewTTY(pts)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ptmx: ptmx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := ptmx.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { tty.Close(); ptmx.Close(); <-done })
	return s, tty
}

// expect waits for a text behind what was expected before.
func (s *screen) expect(text string) {
	s.t.Helper()
	testenv.Eventually(s.t, "the terminal shows "+text, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := strings.Index(s.text.String()[s.seen:], text)
		if i >= 0 {
			s.seen += i + len(text)
		}
		return i >= 0
	})
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) typing(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.ptmx, text); err != nil {
		s.t.Fatal(err)
	}
}

func TestSessionOnATerminal(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	svc := newService(t)
	svc.start()
	term := session.NewTerminal(tty)
	stop := run(t, &session.Session{Service: ipc.Dial(svc.socket), Notifier: term, Prompter: term, Log: svc.log})
	svc.add(request("t1"))
	sc.expect("Server: https://bank.example")
	sc.expect("[a/d/n] ")
	sc.typing("\n")
	sc.expect("Approval request from Test Bank. Press Return to see it.")
	sc.typing("\n")
	sc.expect("[a/d/n] ")
	sc.typing("a\n")
	sc.expect("Number shown by Test Bank: ")
	sc.typing("42\n")
	sc.expect("PIN: ")
	sc.typing("123456\n")
	sc.expect("Sent to Test Bank: approved")
	if got := svc.waitAnswers(1)[0]; got.Surface != ipc.SurfaceTTY || got.Number != "42" {
		t.Errorf("answer %+v", got)
	}
	svc.add(request("t2"))
	sc.expect("[a/d/n] ")
	svc.add(request("t3"))
	svc.close("t2", "expired")
	sc.expect("is over")
	sc.expect("[a/d/n] ")
	sc.typing("n\n")
	if got := svc.waitAnswers(2)[1]; got.RequestHash != "req-t3" || got.Reason != ipc.NotMe {
		t.Errorf("answer %+v", got)
	}
	sc.expect("Sent to Test Bank: denied")
	stop()
	if strings.Contains(sc.all(), "123456") {
		t.Error("the PIN was echoed")
	}
}

func TestTouchIsAskedForOnATerminal(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	svc := newService(t)
	svc.start()
	term := session.NewTerminal(tty)
	stop := run(t, &session.Session{Service: ipc.Dial(svc.socket), Notifier: term, Prompter: term, Log: svc.log})
	defer stop()
	d := request("t1")
	svc.add(d)
	sc.expect("[a/d/n] ")
	svc.emit(ipc.Event{Kind: ipc.EventTouch, Request: &d.Request})
	sc.expect("Touch your token")
	sc.expect("answer to Test Bank")
	svc.emit(ipc.Event{Kind: ipc.EventTouch})
	sc.expect("enrollment")
	svc.emit(ipc.Event{Kind: ipc.EventVerify, Request: &d.Request, Hint: "place_finger"})
	sc.expect("Place your finger on the reader.")
	sc.expect("answer to Test Bank")
}

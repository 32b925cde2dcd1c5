package prompt_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/prompt"
	"countersign/session/text"
)

// screen is the person's side of a terminal.
type screen struct {
	t    *testing.T
	ptmx io.ReadWriter
	name string
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
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	tty, err := prompt.NewTTY(pts)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ptmx: ptmx, name: pts.Name()}
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

func TestTerminalAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, typed, decision, reason string
		none                          bool
	}{
		{"approve", "a\n042\n123456\n", ipc.Approve, "", false},
		{"approve by word", "Approve\n42\n\x15042\n123456\n", ipc.Approve, "", false},
		{"deny", "deny\n", ipc.Deny, ipc.Cancelled, false},
		{"not me", "not me\n", ipc.Deny, ipc.NotMe, false},
		{"Return", "\n", "", "", true},
		{"Ctrl-C", "\x03", "", "", true},
		{"Ctrl-C behind a", "a\x03", "", "", true},
		{"Ctrl-D", "\x04", "", "", true},
		{"Ctrl-D behind a", "a\x04", "", "", true},
		{"no number", "a\n\n", "", "", true},
		{"no PIN", "a\n042\n\n", "", "", true},
		{"Ctrl-C at the PIN", "a\n042\n12\x03", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sc, tty := newScreen(t)
			q := prompt.Question{Display: record()}
			q.Display.NumberDigits, q.Display.PINNeeded = 3, true
			result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
			sc.expect("[a/d/n] ")
			// Line by line: what is typed before the PIN is asked is echoed.
			for rest := tt.typed; rest != ""; {
				i := strings.IndexAny(rest, "\n\x03\x04") + 1
				sc.typing(rest[:i])
				if rest = rest[i:]; rest == "" {
					break
				}
				sc.expect(": ") // the label of the next question
			}
			a := wait(t, result)
			if tt.none != errors.Is(a.err, prompt.ErrNoAnswer) || !tt.none && a.err != nil {
				t.Fatalf("error %v", a.err)
			}
			if a.answer.Decision != tt.decision || a.answer.Reason != tt.reason {
				t.Errorf("%+v", a.answer)
			}
			if tt.decision == ipc.Approve && (a.answer.Number != "042" || string(a.answer.PIN.Reveal()) != "123456" || a.answer.Surface != ipc.SurfaceTTY) {
				t.Errorf("%+v", a.answer)
			}
			if strings.Contains(sc.all(), "123456") {
				t.Error("the PIN was echoed")
			}
		})
	}
}

func TestAnythingElseIsAskedAgain(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, prompt.Question{Display: record()})
	for _, line := range []string{"yes", "ad", "approve all", "a"} {
		sc.expect("[a/d/n] ")
		sc.typing(line + "\n")
	}
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Approve {
		t.Errorf("%+v", a)
	}
}

// TestTypedTooEarly types an approval before the record is shown, and more
// while it is fresh.
func TestTypedTooEarly(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	sc.typing("a\na")
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, prompt.Question{Display: record()})
	sc.expect("Server: https://bank.example")
	sc.typing("a\n")
	sc.expect("[a/d/n] ")
	sc.typing("d\n")
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Deny {
		t.Errorf("%+v", a)
	}
}

func TestTheTerminalIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	for _, end := range []string{"\n", "\x03", "\x04"} {
		done := make(chan error, 1)
		go func() {
			pin, err := prompt.ReadPIN(t.Context(), tty, "PIN: ")
			pin.Wipe()
			done <- err
		}()
		sc.expect("PIN: ")
		sc.typing(end)
		if err := <-done; !errors.Is(err, prompt.ErrNoAnswer) {
			t.Errorf("%q: %v", end, err)
		}
		sc.typing("visible")
		sc.expect("visible")
		sc.typing("\x15")
	}
}

func TestRepeatedPINOnTerminal(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	left := 2
	q := prompt.Question{Display: record(), Number: "42", Refused: &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong", TriesLeft: &left}}
	q.Display.NumberDigits, q.Display.PINNeeded = 2, true
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
	sc.expect("That is not the PIN. Tries left: 2.")
	sc.expect("PIN: ")
	sc.typing("123456\n")
	if a := wait(t, result); a.err != nil || a.answer.Number != "42" {
		t.Errorf("%+v", a)
	}
}

func TestNotATerminal(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if _, err := prompt.NewTTY(r); err == nil {
		t.Error("a pipe is taken for a terminal")
	}
}

// settled waits until a page is old enough to be answered.
func settled() { <-time.After(1500 * time.Millisecond) }

// TestCursesNeedsAWord: pinentry-curses focuses OK first, so that Return alone
// must not be enough.
func TestCursesNeedsAWord(t *testing.T) {
	testenv.Need(t, "pinentry-curses")
	t.Parallel()
	sc, _ := newScreen(t)
	p := &prompt.Pinentry{Program: "pinentry-curses", TTYName: sc.name, TTYType: "xterm", Locale: "C.UTF-8"}
	result := ask(t, t.Context(), p, prompt.Question{Display: record()})
	sc.expect("\u00a0\u00a0Pay 40 EUR") // no text in the first column
	sc.expect("<Approve>")
	settled()
	sc.typing("\r")
	sc.expect("to approve.")
	settled()
	sc.typing("\r")
	sc.expect("That was not the word.")
	settled()
	sc.typing("yes\r")
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Approve {
		t.Errorf("%+v", a)
	}
}

func TestCursesNumberAndPIN(t *testing.T) {
	testenv.Need(t, "pinentry-curses")
	t.Parallel()
	sc, _ := newScreen(t)
	p := &prompt.Pinentry{Program: "pinentry-curses", TTYName: sc.name, TTYType: "xterm", Locale: "C.UTF-8"}
	q := prompt.Question{Display: record()}
	q.Display.NumberDigits, q.Display.PINNeeded = 2, true
	result := ask(t, t.Context(), p, q)
	sc.expect("<Continue>")
	settled()
	sc.typing("\r")
	sc.expect("Number:")
	settled()
	sc.typing("42\r")
	sc.expect("PIN:")
	settled()
	sc.typing("123456\r")
	a := wait(t, result)
	if a.err != nil || a.answer.Number != "42" || string(a.answer.PIN.Reveal()) != "123456" {
		t.Errorf("%+v", a)
	}
}

// TestTheServiceVerifies: an empty line leaves it to the service where it can,
// and the end of the input is no answer there either.
func TestTheServiceVerifies(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	left := 4
	q := prompt.Question{Display: record(), Text: text.In("nl")}
	q.Display.NumberDigits, q.Display.PINNeeded, q.Display.Verify, q.Display.PINTriesLeft = 2, false, ipc.VerifyFingerprint, &left
	for _, typed := range []string{"\n", "123456\n"} {
		result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
		sc.expect("niet (n)?")
		sc.typing("a\n")
		sc.expect("Nummer dat")
		sc.typing("42\n")
		sc.expect("vingerafdruklezer")
		sc.expect("Resterende pogingen: 4.")
		sc.expect("Pincode: ")
		sc.typing(typed)
		a := wait(t, result)
		if a.err != nil || a.answer.Decision != ipc.Approve || string(a.answer.PIN.Reveal()) != strings.TrimSpace(typed) {
			t.Errorf("%q: %+v", typed, a)
		}
	}
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
	sc.expect("niet (n)?")
	sc.typing("a\n")
	sc.expect("Nummer dat")
	sc.typing("42\n")
	sc.expect("Pincode: ")
	sc.typing("\x04")
	if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
		t.Errorf("the end of the input: %+v", a)
	}
}

package prompt_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/prompt"
	"countersign/session/text"
)

func newScreen(t *testing.T) (*testenv.Screen, *prompt.TTY) {
	t.Helper()
	sc, pts := testenv.OpenScreen(t)
	tty, err := prompt.NewTTY(pts)
	if err != nil {
		t.Fatal(err)
	}
	return sc, tty
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
			sc.Expect("[a/d/n] ")
			// Line by line: what is typed before the PIN is asked is echoed.
			for rest := tt.typed; rest != ""; {
				i := strings.IndexAny(rest, "\n\x03\x04") + 1
				sc.Type(rest[:i])
				if rest = rest[i:]; rest == "" {
					break
				}
				sc.Expect(": ") // the label of the next question
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
			if strings.Contains(sc.Text(), "123456") {
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
		sc.Expect("[a/d/n] ")
		sc.Type(line + "\n")
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
	sc.Type("a\na")
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, prompt.Question{Display: record()})
	sc.Expect("Server: https://bank.example")
	sc.Type("a\n")
	sc.Expect("[a/d/n] ")
	sc.Type("d\n")
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
		sc.Expect("PIN: ")
		sc.Type(end)
		if err := <-done; !errors.Is(err, prompt.ErrNoAnswer) {
			t.Errorf("%q: %v", end, err)
		}
		sc.Type("visible")
		sc.Expect("visible")
		sc.Type("\x15")
	}
}

func TestRepeatedPINOnTerminal(t *testing.T) {
	t.Parallel()
	sc, tty := newScreen(t)
	left := 2
	q := prompt.Question{Display: record(), Number: "42", Refused: &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong", TriesLeft: &left}}
	q.Display.NumberDigits, q.Display.PINNeeded = 2, true
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
	sc.Expect("That is not the PIN. Tries left: 2.")
	sc.Expect("PIN: ")
	sc.Type("123456\n")
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
	sc, pts := testenv.OpenScreen(t)
	p := &prompt.Pinentry{Program: "pinentry-curses", TTYName: pts.Name(), TTYType: "xterm", Locale: "C.UTF-8"}
	result := ask(t, t.Context(), p, prompt.Question{Display: record()})
	sc.Expect("\u00a0\u00a0Pay 40 EUR") // no text in the first column
	sc.Expect("<Approve>")
	settled()
	sc.Type("\r")
	sc.Expect("to approve.")
	settled()
	sc.Type("\r")
	sc.Expect("That was not the word.")
	settled()
	sc.Type("yes\r")
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Approve {
		t.Errorf("%+v", a)
	}
}

func TestCursesNumberAndPIN(t *testing.T) {
	testenv.Need(t, "pinentry-curses")
	t.Parallel()
	sc, pts := testenv.OpenScreen(t)
	p := &prompt.Pinentry{Program: "pinentry-curses", TTYName: pts.Name(), TTYType: "xterm", Locale: "C.UTF-8"}
	q := prompt.Question{Display: record()}
	q.Display.NumberDigits, q.Display.PINNeeded = 2, true
	result := ask(t, t.Context(), p, q)
	sc.Expect("<Continue>")
	settled()
	sc.Type("\r")
	sc.Expect("Number:")
	settled()
	sc.Type("42\r")
	sc.Expect("PIN:")
	settled()
	sc.Type("123456\r")
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
		sc.Expect("niet (n)?")
		sc.Type("a\n")
		sc.Expect("Nummer dat")
		sc.Type("42\n")
		sc.Expect("vingerafdruklezer")
		sc.Expect("Resterende pogingen: 4.")
		sc.Expect("Pincode: ")
		sc.Type(typed)
		a := wait(t, result)
		if a.err != nil || a.answer.Decision != ipc.Approve || string(a.answer.PIN.Reveal()) != strings.TrimSpace(typed) {
			t.Errorf("%q: %+v", typed, a)
		}
	}
	result := ask(t, t.Context(), &prompt.Terminal{TTY: tty}, q)
	sc.Expect("niet (n)?")
	sc.Type("a\n")
	sc.Expect("Nummer dat")
	sc.Type("42\n")
	sc.Expect("Pincode: ")
	sc.Type("\x04")
	if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
		t.Errorf("the end of the input: %+v", a)
	}
}

package testenv

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// Screen is the person's side of a terminal: it keeps what is shown, and types.
type Screen struct {
	tb   testing.TB
	ptmx *os.File
	text Log
	seen int
}

// OpenScreen opens a terminal of 24 lines and returns both sides. The program's
// is closed at the end of the test, unless that was done before.
func OpenScreen(tb testing.TB) (*Screen, *os.File) {
	tb.Helper()
	ptmx, pts, err := pty.Open()
	if err != nil {
		tb.Fatal(err)
	}
	s := &Screen{tb: tb, ptmx: ptmx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&s.text, ptmx)
	}()
	tb.Cleanup(func() {
		_, _ = pts.Close(), ptmx.Close()
		<-done
	})
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		tb.Fatal(err)
	}
	return s, pts
}

// Text is all that was shown so far.
func (s *Screen) Text() string { return s.text.String() }

// Expect waits for a text behind what was expected before.
func (s *Screen) Expect(text string) {
	s.tb.Helper()
	Eventually(s.tb, "the terminal shows "+text, func() bool {
		i := strings.Index(s.Text()[s.seen:], text)
		if i >= 0 {
			s.seen += i + len(text)
		}
		return i >= 0
	})
}

// Type types a text.
func (s *Screen) Type(text string) {
	s.tb.Helper()
	if _, err := io.WriteString(s.ptmx, text); err != nil {
		s.tb.Fatal(err)
	}
}

// Answer waits for a question, and types a line.
func (s *Screen) Answer(question, line string) {
	s.tb.Helper()
	s.Expect(question)
	s.Type(line + "\n")
}

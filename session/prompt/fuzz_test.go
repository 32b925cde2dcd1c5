package prompt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"countersign/ipc"
)

// FuzzTalk lets a program that is no pinentry say anything in answer to two
// commands.
func FuzzTalk(f *testing.F) {
	for _, s := range []string{
		"OK hi\nOK\nD 1234\nOK\n", "OK hi\nERR 83886179 Operation cancelled <Pinentry>\nS BUTTON_INFO close\nERR 83886194 x\n",
		"OK\nOK\nD 12%\nOK\n", "OK\nD a\nD b\nOK\nOK\n", "ERR 1 no\n", "OK\n\n#\nOK\nOK", "OK\nINQUIRE X\n", "OK\nOK\nD %25%0A%00\nOK\n",
		"OK\n" + strings.Repeat("D "+strings.Repeat("x", 998)+"\n", 3) + "OK\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, server []byte) {
		a, err := newAssuan(io.Discard, bytes.NewReader(server))
		for range 2 {
			if err != nil {
				break
			}
			v, failed := a.do("GETPIN", "")
			if failed != nil && !v.Empty() {
				t.Error("a failure brings data")
			}
			if n := len(v.Reveal()); n > 2*lineLimit || n > len(server) {
				t.Errorf("%d bytes of data", n)
			}
			if !bytes.Contains(server, []byte("OK")) && failed == nil {
				t.Error("an answer without OK")
			}
			v.Wipe()
			if _, refused := errors.AsType[*gpgError](failed); !refused {
				err = failed
			}
		}
		if err == nil {
			return
		}
		if _, refused := errors.AsType[*gpgError](err); !refused && !errors.Is(err, errAssuan) && !errors.Is(err, io.EOF) {
			t.Errorf("error %v", err)
		}
		if strings.ContainsFunc(err.Error(), unshowable) {
			t.Errorf("the error is %q", err)
		}
	})
}

// FuzzPages lays a record out and has it told to a window: nothing gets lost,
// nothing is added but our indents, and no text comes into the first column.
func FuzzPages(f *testing.F) {
	f.Add("Pay 40 EUR, 100% <b>sure</b>", 50)
	f.Add(strings.Repeat("Server: https://bank.example ", 40), 20)
	f.Add(strings.Repeat("%", 300)+strings.Repeat("字", 200), 16)
	f.Add("a\u0301\u0301\u0301   \u00a0 b%0A%25", 33)
	f.Fuzz(func(t *testing.T, message string, width int) {
		line := "  " + message
		if len(message) > 1024 || width < 4*len(hang) || width > 200 || check(display(line)) != nil {
			return
		}
		joined := ""
		for i, page := range pages([]string{line}, width, pageHeight, pageBytes, ems) {
			for j, part := range strings.Split(told(t, page), "\n") {
				part = strings.ReplaceAll(part, "\u00a0", " ")
				if !strings.HasPrefix(part, "  ") {
					t.Fatalf("%q begins in the first column", part)
				}
				if i+j > 0 {
					part = strings.TrimPrefix(part, hang)
				}
				joined += part
			}
		}
		if want := strings.ReplaceAll(line, "\u00a0", " "); joined != want {
			t.Errorf("%q became %q", want, joined)
		}
	})
}

// told is what a pinentry program makes of a text that it is to describe.
func told(t *testing.T, text string) string {
	t.Helper()
	var sent bytes.Buffer
	a, err := newAssuan(&sent, strings.NewReader("OK\nOK\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.do("SETDESC", text); err != nil {
		t.Fatal(err)
	}
	line, one := strings.CutSuffix(sent.String(), "\n")
	if !one || strings.ContainsAny(line, "\r\n") || len(line) > lineLimit {
		t.Fatalf("sent %q", sent.String())
	}
	// Servers skip the spaces before the argument.
	arg, err := unescape([]byte(strings.TrimLeft(strings.TrimPrefix(line, "SETDESC"), " ")))
	if err != nil {
		t.Fatal(err)
	}
	return string(arg)
}

// FuzzTTY types anything into a terminal that asks.
func FuzzTTY(f *testing.F) {
	for _, s := range []string{"a\n", "\n", "042\r", "a\x03", "\x04", "x\x15y\n", "\x1b[A\n", "\xff\xfe\n", "ab\x7f\x7f\x7f\n", "\x16", "\x16\x03\n", strings.Repeat("x", 5000) + "\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, typed []byte, echo bool) {
		ptmx, tty := terminal(t)
		before := modes(t, tty)
		// Ctrl-S would hold the screen until Ctrl-Q, whatever is shown on it.
		// Ctrl-V takes the next character for itself, Return too.
		typed = append(bytes.ReplaceAll(typed, []byte{0x13}, nil), '\n', '\n')
		quoting := bytes.ContainsRune(typed, 0x16)
		go func() { _, _ = ptmx.Write(typed) }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		v, err := tty.read(ctx, "? ", echo)
		defer v.Wipe()
		switch {
		case ctx.Err() != nil:
			t.Fatal("it still waits behind a line")
		case err != nil && !errors.Is(err, ErrNoAnswer):
			t.Errorf("error %v", err)
		case err != nil && !v.Empty():
			t.Error("no answer, and yet one")
		case !quoting && bytes.ContainsAny(v.Reveal(), "\n\x03\x04") || len(v.Reveal()) > len(typed):
			t.Errorf("read %q of %q", v.Reveal(), typed)
		}
		if after := modes(t, tty); *after != *before {
			t.Errorf("the terminal is left %+v", after)
		}
	})
}

// terminal is a terminal whose screen nobody watches.
func terminal(t *testing.T) (*os.File, *TTY) {
	t.Helper()
	ptmx, pts, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	tty, err := NewTTY(pts)
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, ptmx)
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		_ = ptmx.Close()
		<-drained
	})
	return ptmx, tty
}

func modes(t *testing.T, tty *TTY) (m *unix.Termios) {
	t.Helper()
	err := tty.control(func(fd int) (err error) {
		m, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func display(lines ...string) ipc.Display {
	return ipc.Display{Request: ipc.Request{ID: "t1"}, Lines: lines}
}

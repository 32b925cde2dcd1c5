package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"countersign/internal/secret"
)

// keyInterrupt is Ctrl-C. While a prompt reads, it ends the line instead of
// the program, so that the terminal is always left as it was found.
const keyInterrupt = 3

// lineMax is the longest line a terminal gives in canonical mode, termios(3).
const lineMax = 4096

// TTY is a terminal to ask on. One question is asked at a time.
type TTY struct{ f *os.File }

// OpenTTY opens the terminal this program was started on. It fails where there
// is none.
func OpenTTY() (*TTY, error) {
	for _, path := range []string{"/dev/tty", "/proc/self/fd/0"} {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			continue
		}
		t, err := NewTTY(f)
		if err == nil {
			return t, nil
		}
		_ = f.Close()
	}
	return nil, errors.New("there is no terminal to ask on")
}

// NewTTY takes over an open terminal. It must be open for reading and writing
// and support deadlines, as what os.OpenFile opens does.
func NewTTY(f *os.File) (*TTY, error) {
	t := &TTY{f: f}
	if !t.isTerminal() {
		return nil, fmt.Errorf("%s is not a terminal", f.Name())
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return t, nil
}

// Close closes the terminal's file.
func (t *TTY) Close() error { return t.f.Close() }

// Write implements io.Writer.
func (t *TTY) Write(b []byte) (int, error) { return t.f.Write(b) }

// Width returns the number of columns, 0 when unknown.
func (t *TTY) Width() int {
	columns := 0
	_ = t.control(func(fd int) (err error) {
		columns, _, err = term.GetSize(fd)
		return err
	})
	return columns
}

// Flush throws away what was typed and not yet read.
func (t *TTY) Flush() error {
	return t.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) })
}

func (t *TTY) isTerminal() bool {
	return t.control(func(fd int) error {
		if !term.IsTerminal(fd) {
			return unix.ENOTTY
		}
		return nil
	}) == nil
}

// control runs f on the descriptor without taking it out of the poller.
func (t *TTY) control(f func(fd int) error) error {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if inner != nil {
		return fmt.Errorf("terminal: %w", inner)
	}
	return nil
}

// ReadLine prints a label and reads a line, without its end. Ctrl-C, the end
// of the input and ctx's end are ErrNoAnswer.
func (t *TTY) ReadLine(ctx context.Context, label string) (string, error) {
	v, err := t.read(ctx, label, true)
	defer v.Wipe()
	return string(v.Reveal()), err
}

// ReadSecret is ReadLine without echo. The caller wipes what it returns.
func (t *TTY) ReadSecret(ctx context.Context, label string) (secret.Value, error) {
	return t.read(ctx, label, false)
}

// WaitReturn waits for a line and forgets it. The terminal stays as it is, so
// that Ctrl-C ends the program as always. The end of the input is io.EOF.
func (t *TTY) WaitReturn(ctx context.Context) error {
	stop, err := t.interruptible(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var buf [lineMax]byte
	defer clear(buf[:])
	if _, err := t.f.Read(buf[:]); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// interruptible makes reads end with ctx, until stop is called. After stop
// nothing touches the deadline any more, so that the next read is not ended by
// the context of this one.
func (t *TTY) interruptible(ctx context.Context) (stop func(), err error) {
	if err := t.f.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		_ = t.f.SetReadDeadline(time.Unix(1, 0))
		close(ended)
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}, nil
}

func (t *TTY) read(ctx context.Context, label string, echo bool) (secret.Value, error) {
	restore, err := t.promptMode(echo)
	if err != nil {
		return secret.Value{}, err
	}
	defer restore()
	if _, err := io.WriteString(t.f, label); err != nil {
		return secret.Value{}, fmt.Errorf("terminal: %w", err)
	}
	stop, err := t.interruptible(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	defer stop()
	v, err := t.line()
	if ctx.Err() != nil {
		v.Wipe()
		v, err = secret.Value{}, fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
	if err != nil || !echo {
		_, _ = io.WriteString(t.f, "\n")
	}
	return v, err
}

// promptMode lets Ctrl-C end the line and turns echo off where asked. What it
// returns puts things back.
func (t *TTY) promptMode(echo bool) (restore func(), err error) {
	var before *unix.Termios
	err = t.control(func(fd int) (err error) {
		before, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		mode := *before
		mode.Lflag |= unix.ICANON
		mode.Lflag &^= unix.ISIG | unix.ECHO | unix.ECHOCTL
		mode.Iflag |= unix.ICRNL
		mode.Cc[unix.VEOL] = keyInterrupt
		if echo {
			mode.Lflag |= unix.ECHO
		}
		return unix.IoctlSetTermios(fd, unix.TCSETS, &mode)
	})
	return func() {
		_ = t.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, before) })
	}, err
}

// line reads one line of canonical input into a buffer of its own.
func (t *TTY) line() (secret.Value, error) {
	buf := make([]byte, lineMax)
	n, err := t.f.Read(buf)
	line, found := bytes.CutSuffix(buf[:n], []byte("\n"))
	switch {
	case found:
		return secret.New(line), nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded):
		// Ctrl-C or Ctrl-D, perhaps behind a line begun.
		err = ErrNoAnswer
	default:
		err = fmt.Errorf("terminal: %w", err)
	}
	clear(buf)
	return secret.Value{}, err
}

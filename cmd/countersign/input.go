package main

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/term"

	"countersign/internal/secret"
	"countersign/session/prompt"
)

// maxLine bounds a line of standard input; an enrollment link is the longest.
const maxLine = 8 << 10

// readLine reads one line of standard input without its end, byte by byte, so
// that what follows stays for the next reader.
func (a *app) readLine() (secret.Value, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxLine {
		n, err := a.in.Read(b[:])
		if n == 0 && errors.Is(err, io.EOF) && len(line) > 0 {
			break
		}
		if err != nil {
			return secret.Value{}, usageError{errors.New("standard input ended before the expected line")}
		}
		if b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return secret.New(bytes.TrimSuffix(line, []byte("\r"))), nil
}

// onTerminal reports whether a person can be asked.
func (a *app) onTerminal() bool { return term.IsTerminal(int(a.in.Fd())) }

// ask opens the terminal for questions; without one the call was wrong, since
// it left out what only a person can add.
func (a *app) ask(missing string) (*prompt.TTY, error) {
	if !a.onTerminal() {
		return nil, usageError{errors.New(missing)}
	}
	tty, err := prompt.OpenTTY()
	if err != nil {
		return nil, usageError{err}
	}
	return tty, nil
}

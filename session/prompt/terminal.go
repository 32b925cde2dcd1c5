package prompt

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"countersign/internal/secret"
	"countersign/ipc"
)

// Terminal asks on a terminal.
type Terminal struct {
	TTY *TTY
}

// Ask prints the display record, waits a second in which nothing typed
// counts, and asks. There is no default: Return alone is no answer. The caller
// wipes the answer's PIN.
func (t *Terminal) Ask(ctx context.Context, q Question) (ipc.Answer, error) {
	if err := check(q.Display); err != nil {
		return ipc.Answer{}, err
	}
	if said := q.refusal(); said != "" {
		fmt.Fprintln(t.TTY, said)
	}
	number := ""
	if q.keepsNumber() {
		number = q.Number
	}
	needNumber := q.Display.NumberDigits > 0 && number == ""
	if !q.asksAgain() || !needNumber && !q.asksPIN() {
		a, err := t.decide(ctx, q)
		if err != nil || a.Decision == ipc.Deny {
			return a, err
		}
	}
	return t.approve(ctx, q, number, needNumber)
}

func (t *Terminal) decide(ctx context.Context, q Question) (ipc.Answer, error) {
	if err := t.show(ctx, q.Display); err != nil {
		return ipc.Answer{}, err
	}
	for {
		line, err := t.TTY.ReadLine(ctx, q.Text.T("Approve, deny, or not me? [a/d/n]")+" ")
		if err != nil {
			return ipc.Answer{}, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "a", "approve":
			return q.approval(ipc.SurfaceTTY), nil
		case "d", "deny":
			return q.denial(ipc.SurfaceTTY, ipc.Cancelled), nil
		case "n", "not me":
			return q.denial(ipc.SurfaceTTY, ipc.NotMe), nil
		case "":
			return ipc.Answer{}, ErrNoAnswer
		}
		fmt.Fprintln(t.TTY, q.Text.T("Type a, d or n; Return alone leaves the request waiting."))
	}
}

// show prints the record, and returns once it has been there for a second.
// What was typed until then was meant for something else.
func (t *Terminal) show(ctx context.Context, d ipc.Display) error {
	if _, err := io.WriteString(t.TTY, "\n"); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if err := Lines(t.TTY, d, t.TTY.Width()); err != nil {
		return err
	}
	return settled(ctx, t.TTY.Flush)
}

// settled waits until a page that is shown now may be answered, and has thrown
// away what came before.
func settled(ctx context.Context, discard func() error) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	case <-timer.C:
		return discard()
	}
}

func (t *Terminal) approve(ctx context.Context, q Question, number string, needNumber bool) (ipc.Answer, error) {
	a := q.approval(ipc.SurfaceTTY)
	a.Number = number
	var err error
	if needNumber {
		if a.Number, err = ReadNumber(ctx, t.TTY, q); err != nil {
			return ipc.Answer{}, err
		}
	}
	if q.asksPIN() {
		if a.PIN, err = ReadPINFor(ctx, t.TTY, q); err != nil {
			return ipc.Answer{}, err
		}
	}
	return a, nil
}

// ReadNumber asks for the number that the relying party shows, until what is
// typed has that many digits. An empty line is ErrNoAnswer.
func ReadNumber(ctx context.Context, t *TTY, q Question) (string, error) {
	label := q.Text.T("Number shown by %s:", q.Display.Client.Name) + " "
	for {
		line, err := t.ReadLine(ctx, label)
		if err != nil {
			return "", err
		}
		line = strings.TrimSpace(line)
		if line == "" {
			return "", ErrNoAnswer
		}
		mistake := checkNumber(q.Text, line, q.Display.NumberDigits)
		if mistake == "" {
			return line, nil
		}
		fmt.Fprintln(t, mistake)
	}
}

// ReadPINFor asks for the PIN that approves q. An empty line is no PIN where the
// service verifies by other means, else ErrNoAnswer, as the end of the input is
// always.
func ReadPINFor(ctx context.Context, t *TTY, q Question) (secret.Value, error) {
	for _, line := range []string{q.verifying(), q.tries()} {
		if line != "" {
			fmt.Fprintln(t, line)
		}
	}
	if q.Display.Verify == "" {
		return ReadPIN(ctx, t, q.Text.T("PIN:")+" ")
	}
	return t.ReadSecret(ctx, q.Text.T("PIN:")+" ")
}

// ReadPIN asks for a PIN without showing it. An empty line is ErrNoAnswer. The
// caller wipes what it returns.
func ReadPIN(ctx context.Context, t *TTY, label string) (secret.Value, error) {
	pin, err := t.ReadSecret(ctx, label)
	if err == nil && pin.Empty() {
		err = ErrNoAnswer
	}
	return pin, err
}

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
	if q.Refused != nil {
		fmt.Fprintln(t.TTY, refusal(q.Refused))
	}
	number := ""
	if q.keepsNumber() {
		number = q.Number
	}
	needNumber := q.Display.NumberDigits > 0 && number == ""
	if !q.asksAgain() || !needNumber && !q.Display.PINNeeded {
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
		line, err := t.TTY.ReadLine(ctx, "Approve, deny, or not me? [a/d/n] ")
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
		fmt.Fprintln(t.TTY, "Type a, d or n; Return alone leaves the request waiting.")
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
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	case <-timer.C:
		return t.TTY.Flush()
	}
}

func (t *Terminal) approve(ctx context.Context, q Question, number string, needNumber bool) (ipc.Answer, error) {
	a := q.approval(ipc.SurfaceTTY)
	a.Number = number
	var err error
	if needNumber {
		label := fmt.Sprintf("Number shown by %s: ", q.Display.Client.Name)
		if a.Number, err = readNumber(ctx, t.TTY, label, q.Display.NumberDigits); err != nil {
			return ipc.Answer{}, err
		}
	}
	if q.Display.PINNeeded {
		if a.PIN, err = ReadPIN(ctx, t.TTY, "PIN: "); err != nil {
			return ipc.Answer{}, err
		}
	}
	return a, nil
}

// ReadNumber asks for the number that the relying party shows, until what is
// typed has that many digits. An empty line is ErrNoAnswer.
func ReadNumber(ctx context.Context, t *TTY, digits int) (string, error) {
	return readNumber(ctx, t, "Number shown: ", digits)
}

func readNumber(ctx context.Context, t *TTY, label string, digits int) (string, error) {
	for {
		line, err := t.ReadLine(ctx, label)
		if err != nil {
			return "", err
		}
		line = strings.TrimSpace(line)
		if line == "" {
			return "", ErrNoAnswer
		}
		mistake := checkNumber(line, digits)
		if mistake == "" {
			return line, nil
		}
		fmt.Fprintln(t, mistake)
	}
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

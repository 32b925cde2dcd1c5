package prompt

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"countersign/internal/secret"
)

// pinMin is the shortest PIN that a TPM key takes.
const pinMin = 6

// ChoosePIN asks in windows whether to enroll at a server, which it names, and
// has the PIN of the new key typed twice. Everything else is ErrNoAnswer. The
// button that goes on does nothing yet: before a PIN has been typed twice
// nobody knows of it.
func (p *Pinentry) ChoosePIN(ctx context.Context, server string) (secret.Value, error) {
	d := &dialog{p: p}
	ask := page{
		title: "Countersign enrollment",
		text: "A link asks to enroll this computer at\n\n    " + server + "\n\n" +
			"Whoever runs that server can then ask you to approve things.\nGo on only if you have just asked for this link.",
		ok: "Continue", cancel: "Not now",
	}
	_, c, err := d.page(ctx, ask, "CONFIRM")
	if err == nil && c != yes {
		err = ErrNoAnswer
	}
	if err != nil {
		return secret.Value{}, noWindow(ctx, err)
	}
	pin, err := d.newPIN(ctx, server)
	return pin, noWindow(ctx, err)
}

// newPIN has a PIN typed until it is the same twice.
func (d *dialog) newPIN(ctx context.Context, server string) (secret.Value, error) {
	first := page{
		title: "Countersign new PIN", label: "New PIN:", ok: "Continue", cancel: "Not now",
		text: fmt.Sprintf("Choose a PIN of at least %d characters for\n%s\nThe chip ends the key at the fifth wrong one.", pinMin, server),
	}
	second := page{title: "Countersign PIN again", label: "Again:", ok: "Enroll", cancel: "Not now", text: "Type the new PIN once more."}
	for {
		pin, err := d.read(ctx, first, longEnough)
		if err != nil {
			return secret.Value{}, err
		}
		again, err := d.read(ctx, second, longEnough)
		same := bytes.Equal(pin.Reveal(), again.Reveal())
		again.Wipe()
		if err == nil && same {
			return pin, nil
		}
		pin.Wipe()
		if err != nil {
			return secret.Value{}, err
		}
		first.mistake = "The two were not the same."
	}
}

func longEnough(typed []byte) string {
	if len(typed) < pinMin {
		return fmt.Sprintf("The PIN has at least %d characters.", pinMin)
	}
	return ""
}

// Tell shows lines of text until the window is closed.
func (p *Pinentry) Tell(ctx context.Context, title string, lines ...string) error {
	for i, line := range lines {
		lines[i] = printable([]byte(line))
	}
	w, err := p.openWindow(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	// A character is at most four bytes, and an escaped one three.
	text := short(strings.Join(lines, "\n"), pageBytes/4)
	if err := w.show(page{title: short(title, titleMax), text: text, ok: "Close"}); err != nil {
		return err
	}
	_, err = w.talk.do("MESSAGE", "")
	return noWindow(ctx, err)
}

// noWindow makes the end of ctx no answer: it ends the program that draws.
func noWindow(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
	return err
}

package prompt

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"countersign/internal/secret"
	"countersign/session/text"
)

// pinMin is the shortest PIN that a TPM key takes.
const pinMin = 6

// ChoosePIN asks in windows whether to enroll at a server, which it names, and
// has the PIN of the new key typed twice. Everything else is ErrNoAnswer. The
// button that goes on does nothing yet: before a PIN has been typed twice
// nobody knows of it.
func (p *Pinentry) ChoosePIN(ctx context.Context, t text.Printer, server string) (secret.Value, error) {
	d := &dialog{p: p, q: Question{Text: t}}
	say := t.T
	ask := page{
		title: say("Countersign enrollment"),
		text: say("A link asks to enroll this computer at") + "\n\n    " + server + "\n\n" +
			say("Whoever runs that server can then ask you to approve things.") + "\n" +
			say("Go on only if you have just asked for this link."),
		ok: say("Continue"), cancel: say("Not now"),
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
	say := d.q.Text.T
	first := page{
		title: say("Countersign new PIN"), label: say("New PIN:"), ok: say("Continue"), cancel: say("Not now"),
		text: say("Choose a PIN of at least %d characters for %s", d.leastPIN(), server) + "\n" +
			say("The chip ends the key at the fifth wrong one."),
	}
	second := page{
		title: say("Countersign PIN again"), label: say("Again:"), ok: say("Enroll"), cancel: say("Not now"),
		text: say("Type the new PIN once more."),
	}
	for {
		pin, err := d.read(ctx, first, d.longEnough)
		if err != nil {
			return secret.Value{}, err
		}
		again, err := d.read(ctx, second, d.longEnough)
		same := bytes.Equal(pin.Reveal(), again.Reveal())
		again.Wipe()
		if err == nil && same {
			return pin, nil
		}
		pin.Wipe()
		if err != nil {
			return secret.Value{}, err
		}
		first.mistake = say("The two were not the same.")
	}
}

func (d *dialog) leastPIN() int { return max(pinMin, d.p.LeastPIN) }

func (d *dialog) longEnough(typed []byte) string {
	if len(typed) < pinMin || utf8.RuneCount(typed) < d.p.LeastPIN {
		return d.q.Text.T("The PIN has at least %d characters.", d.leastPIN())
	}
	return ""
}

// Tell shows lines of text until the window is closed.
func (p *Pinentry) Tell(ctx context.Context, t text.Printer, title string, lines ...string) error {
	for i, line := range lines {
		lines[i] = printable([]byte(line))
	}
	w, err := p.openWindow(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	// A character is at most four bytes, and an escaped one three.
	body := short(strings.Join(lines, "\n"), pageBytes/4)
	if err := w.show(page{title: short(title, titleMax), text: body, ok: t.T("Close")}); err != nil {
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

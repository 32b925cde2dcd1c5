package prompt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/secret"
	"countersign/ipc"
)

// How a page of the record is laid out: width in ems, rows, and bytes once
// escaped, for which the protocol leaves room in one line. A longer record
// takes several pages. GTK breaks lines at the width of a sample sentence of
// 65 letters; 50 wide ones are less.
const (
	pageWidth  = 50
	pageHeight = 16
	pageBytes  = lineLimit - len("SETDESC ")
	titleMax   = 120
	mistakeMax = 240
)

type choice int

const (
	none choice = iota
	yes
	no
)

// Ask shows the request in pages and returns what the person decided:
// ErrNoAnswer when that is nothing. The caller wipes the answer's PIN.
func (p *Pinentry) Ask(ctx context.Context, q Question) (ipc.Answer, error) {
	if err := check(q.Display); err != nil {
		return ipc.Answer{}, err
	}
	d := &dialog{p: p, q: q}
	a, err := d.run(ctx)
	if ctx.Err() != nil {
		a.PIN.Wipe()
		return ipc.Answer{}, fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
	return a, err
}

// dialog is the pages of one question.
type dialog struct {
	p      *Pinentry
	q      Question
	flavor string
}

func (d *dialog) run(ctx context.Context) (ipc.Answer, error) {
	number := ""
	if d.q.keepsNumber() {
		number = d.q.Number
	}
	needNumber := d.q.Display.NumberDigits > 0 && number == ""
	// What is typed again is preceded by no page only if something is typed:
	// an answer is never sent twice by itself.
	if !d.q.asksAgain() || !needNumber && !d.q.asksPIN() {
		c, err := d.record(ctx)
		switch {
		case err != nil:
			return ipc.Answer{}, err
		case c == no:
			return d.deny(ctx)
		}
	}
	return d.approve(ctx, number, needNumber)
}

// record shows the display record, page by page.
func (d *dialog) record(ctx context.Context) (choice, error) {
	say := d.q.Text.T
	texts := pages(d.q.Display.Lines, pageWidth, pageHeight, pageBytes, ems)
	for i, text := range texts {
		pg := page{title: d.title(say("Countersign request")), text: text, ok: say("Continue"), notOK: say("Deny / Not me"), cancel: say("Not now")}
		if len(texts) > 1 {
			pg.title += fmt.Sprintf(" (%d/%d)", i+1, len(texts))
		}
		if i == 0 {
			pg.mistake = d.q.refusal()
		}
		if i == len(texts)-1 && !d.typesSomething() {
			pg.ok = say("Approve")
		}
		v, c, err := d.page(ctx, pg, "CONFIRM")
		v.Wipe()
		if err != nil || c != yes {
			return c, err
		}
	}
	if !d.typesSomething() && !d.focusIsSafe() {
		return yes, d.word(ctx)
	}
	return yes, nil
}

func (d *dialog) typesSomething() bool {
	return d.q.Display.NumberDigits > 0 || d.q.asksPIN()
}

// focusIsSafe reports whether the program is known to focus the cancel button
// of CONFIRM first. pinentry-gtk-2 does; pinentry-curses focuses OK, so that
// Return alone would approve.
func (d *dialog) focusIsSafe() bool { return d.flavor == "gtk2" }

// word has "yes" typed where a button alone could be pressed by accident.
func (d *dialog) word(ctx context.Context) error {
	say := d.q.Text.T
	pg := page{title: d.title(say("Countersign approval")), text: say("Type \"yes\" to approve."), label: say("Word:"), ok: say("Approve"), cancel: say("Not now")}
	v, err := d.read(ctx, pg, func(typed []byte) string {
		if string(typed) == say("yes") {
			return ""
		}
		return say("That was not the word.")
	})
	v.Wipe()
	return err
}

// deny asks why. Closing this page too is no answer.
func (d *dialog) deny(ctx context.Context) (ipc.Answer, error) {
	say := d.q.Text.T
	pg := page{
		title: d.title(say("Countersign denial")),
		text:  say("Deny it, or say that you did not start this: then %s is blocked until you lift it.", d.q.Display.Client.Name),
		ok:    say("Deny"), notOK: say("Not me"), cancel: say("Not now"),
	}
	v, c, err := d.page(ctx, pg, "CONFIRM")
	v.Wipe()
	switch {
	case err != nil:
		return ipc.Answer{}, err
	case c == no:
		return d.q.denial(ipc.SurfacePrompt, ipc.NotMe), nil
	}
	return d.q.denial(ipc.SurfacePrompt, ipc.Cancelled), nil
}

func (d *dialog) approve(ctx context.Context, number string, needNumber bool) (ipc.Answer, error) {
	a := d.q.approval(ipc.SurfacePrompt)
	mistake := d.q.refusal()
	a.Number = number
	if needNumber {
		v, err := d.number(ctx, mistake)
		if err != nil {
			return ipc.Answer{}, err
		}
		a.Number = string(v.Reveal())
		v.Wipe()
		mistake = ""
	}
	var err error
	if d.q.asksPIN() {
		a.PIN, err = d.pin(ctx, mistake)
	}
	return a, err
}

func (d *dialog) number(ctx context.Context, mistake string) (secret.Value, error) {
	say, digits := d.q.Text.T, d.q.Display.NumberDigits
	pg := page{
		title:   d.title(say("Countersign number")),
		text:    say("Type the number of %d digits that %s shows.\nIf it shows none, close this window.", digits, d.q.Display.Client.Name),
		mistake: mistake,
		label:   say("Number:"), ok: say("Continue"), cancel: say("Not now"),
	}
	return d.read(ctx, pg, func(typed []byte) string { return checkNumber(d.q.Text, string(typed), digits) })
}

func (d *dialog) pin(ctx context.Context, mistake string) (secret.Value, error) {
	say := d.q.Text.T
	lines := []string{say("Type your PIN to approve the request of %s.", d.q.Display.Client.Name)}
	if how := d.q.verifying(); how != "" {
		lines = append(lines, how)
	}
	if tries := d.q.tries(); tries != "" && mistake == "" {
		lines = append(lines, tries)
	}
	pg := page{
		title:   d.title(say("Countersign PIN")),
		text:    strings.Join(lines, "\n"),
		mistake: mistake,
		label:   say("PIN:"), ok: say("Approve"), cancel: say("Not now"),
	}
	return d.read(ctx, pg, func(typed []byte) string {
		if len(typed) == 0 && d.q.Display.Verify == "" {
			return say("The PIN was empty.")
		}
		return ""
	})
}

// read has something typed until wrong finds nothing to say about it.
func (d *dialog) read(ctx context.Context, pg page, wrong func([]byte) string) (secret.Value, error) {
	for {
		v, c, err := d.page(ctx, pg, "GETPIN")
		if err != nil {
			return secret.Value{}, err
		}
		if c == no { // a flavor with a third button
			v.Wipe()
			return secret.Value{}, ErrNoAnswer
		}
		if pg.mistake = wrong(v.Reveal()); pg.mistake == "" {
			return v, nil
		}
		v.Wipe()
	}
}

func (d *dialog) title(what string) string {
	return short(what+": "+d.q.Display.Account, titleMax)
}

// page shows a page until an answer comes that is not too early, and returns
// ErrNoAnswer for none.
func (d *dialog) page(ctx context.Context, pg page, command string) (secret.Value, choice, error) {
	for {
		v, c, age, err := d.once(ctx, pg, command)
		if err != nil || c == none {
			v.Wipe()
			return secret.Value{}, none, cmp.Or(err, ErrNoAnswer)
		}
		if age >= settleWindow {
			return v, c, nil
		}
		v.Wipe()
	}
}

// once shows a page once, and says how old it was when the answer came.
func (d *dialog) once(ctx context.Context, pg page, command string) (secret.Value, choice, time.Duration, error) {
	w, err := d.p.openWindow(ctx)
	if err != nil {
		return secret.Value{}, none, 0, err
	}
	defer w.close()
	d.flavor = w.flavor
	if err := w.show(pg); err != nil {
		return secret.Value{}, none, 0, err
	}
	shown := d.p.now()
	v, err := w.talk.do(command, "")
	age := d.p.now().Sub(shown)
	if w.talk.closed {
		return v, none, age, nil
	}
	c, err := verdict(err)
	return v, c, age, err
}

// verdict reads a button from what the command answered.
func verdict(err error) (choice, error) {
	refused, ok := errors.AsType[*gpgError](err)
	switch {
	case err == nil:
		return yes, nil
	case ok && refused.noAnswer():
		return none, nil
	case ok && refused.notConfirmed():
		return no, nil
	}
	return none, err
}

func (p *Pinentry) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

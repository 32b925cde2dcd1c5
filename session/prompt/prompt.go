// Package prompt asks one person about one approval request: in windows drawn
// by a pinentry program, or on a terminal.
//
// A prompt is never fooled into consent by what is not a person's answer. A
// window closed, Escape, Return on what has the focus first, silence, the end
// of the input and a cancelled context are all ErrNoAnswer; what was typed or
// clicked within a second of a page's appearing is thrown away. What it cannot
// do is tell a person from another program of the same user: its answers are a
// user's click, never proof of a PIN.
package prompt

import (
	"errors"
	"strings"
	"time"

	"countersign/ipc"
	"countersign/session/text"
)

// ErrNoAnswer says that the person decided nothing. The request stays pending.
var ErrNoAnswer = errors.New("no answer")

// settle is how long a page must have been there before an answer counts.
const settle = time.Second

// settleWindow is the same, counted from when a program was told to show the
// page. Nobody says when its window has come up, on a busy machine some tenths of
// a second later.
const settleWindow = settle + 400*time.Millisecond

// Question is a request to ask about, perhaps again.
type Question struct {
	Display ipc.Display
	// Text speaks the person's language; the record is in the one that it was
	// rendered in.
	Text text.Printer
	// Refused is why the service did not take the answer before; nil at
	// first. Only what was wrong with it is asked again.
	Refused *ipc.Error
	// Number is what was typed before, for when only the PIN was wrong.
	Number string
}

// asksAgain reports whether the service refused a number or a PIN that can be
// typed once more. The decision itself stands then.
func (q Question) asksAgain() bool { return q.Refused != nil && Retryable(q.Refused) }

// keepsNumber reports whether the number typed before still stands.
func (q Question) keepsNumber() bool {
	return q.asksAgain() && !aboutNumber(q.Refused.Code) && q.Number != ""
}

// Retryable reports whether a refusal is a slip of the fingers that the person
// may mend: a wrong or missing number or PIN with tries left.
func Retryable(e *ipc.Error) bool {
	if e.Status != "" || e.TriesLeft != nil && *e.TriesLeft <= 0 {
		return false
	}
	switch e.Code {
	case ipc.CodeWrongPIN, ipc.CodeBadPIN, ipc.CodePINRequired:
		return true
	}
	return aboutNumber(e.Code)
}

func aboutNumber(code string) bool {
	return code == ipc.CodeWrongNumber || code == ipc.CodeNumberRequired
}

// refusal is the sentence that says what was wrong. What a person may mend is
// said in their language, the rest in the service's words.
func (q Question) refusal() string {
	e := q.Refused
	if e == nil {
		return ""
	}
	said := strings.TrimSuffix(printable([]byte(e.Message)), ".") + "."
	switch e.Code {
	case ipc.CodeWrongPIN:
		said = q.Text.T("That is not the PIN.")
	case ipc.CodeWrongNumber:
		said = q.Text.T("That is not the number.")
	case ipc.CodePINRequired:
		said = q.Text.T("This takes the PIN.")
	}
	if e.TriesLeft != nil {
		said += " " + q.Text.T("Tries left: %d.", *e.TriesLeft)
	}
	return said
}

// tries is the sentence that says how many PINs the chip will still look at, or
// "" where it does not say.
func (q Question) tries() string {
	if q.Display.PINTriesLeft == nil {
		return ""
	}
	return q.Text.T("Tries left: %d.", *q.Display.PINTriesLeft)
}

// verifying is the sentence that says how the service verifies the person where
// no PIN is typed, or "" where it does not.
func (q Question) verifying() string {
	switch q.Display.Verify {
	case ipc.VerifyFingerprint:
		return q.Text.T("Leave the field empty to use the fingerprint reader, or type your PIN.")
	case ipc.VerifyPolkit:
		return q.Text.T("Leave the field empty to confirm it with your password in the next window, or type your PIN.")
	case ipc.VerifyPlugin:
		return q.Text.T("Leave the field empty to confirm it as your computer is set up to, or type your PIN.")
	}
	return ""
}

// asksPIN reports whether there is a page for the PIN, which may stay empty
// where the service verifies by other means.
func (q Question) asksPIN() bool { return q.Display.PINNeeded || q.Display.Verify != "" }

// approval is the answer that approves q, still without number and PIN.
func (q Question) approval(surface string) ipc.Answer {
	return ipc.Answer{
		RequestHash: q.Display.RequestHash,
		DisplayHash: q.Display.DisplayHash,
		Language:    q.Display.Language,
		TimeZone:    q.Display.TimeZone,
		Decision:    ipc.Approve,
		Surface:     surface,
	}
}

func (q Question) denial(surface, reason string) ipc.Answer {
	a := q.approval(surface)
	a.Decision, a.Reason = ipc.Deny, reason
	return a
}

// checkNumber says what is wrong with a typed number, or nothing.
func checkNumber(say text.Printer, number string, digits int) string {
	if len(number) == digits && strings.Trim(number, "0123456789") == "" {
		return ""
	}
	return say.T("The number has %d digits.", digits)
}

// Again is what to ask after a refusal: only what was wrong, unless something
// else is to be shown now.
func (q Question) Again(d ipc.Display, refused *ipc.Error, number string) Question {
	if d.DisplayHash != q.Display.DisplayHash || d.RequestHash != q.Display.RequestHash {
		return Question{Display: d, Text: q.Text}
	}
	return Question{Display: d, Text: q.Text, Refused: refused, Number: number}
}

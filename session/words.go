package session

import (
	"errors"
	"strings"
	"time"
	"unicode"

	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/text"
)

// nameMax is how much of a relying party's name a notification shows.
const nameMax = 60

// clientName is the relying party's name, made safe for a place that is not
// the display record.
func clientName(r ipc.Request) string {
	name := []rune(strings.Map(func(c rune) rune {
		if unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return unicode.ReplacementChar
		}
		return c
	}, r.Client.Name))
	if len(name) > nameMax {
		name = append(name[:nameMax-1], '…')
	}
	return string(name)
}

// waitingNote says who asks, and no more: any program of the user can read it.
func (s *Session) waitingNote(waiting []ipc.Request) notify.Note {
	next := clientName(waiting[0])
	if len(waiting) == 1 {
		return notify.Note{Summary: s.Text.T("Approval request from %s", next), Body: s.Text.T("Open it to answer.")}
	}
	return notify.Note{
		Summary: s.Text.T("%d approval requests", len(waiting)),
		Body:    s.Text.T("The next is from %s. Open it to answer.", next),
	}
}

// lockedNote says that something waits, to whoever sees a locked screen.
func (s *Session) lockedNote(count int) notify.Note {
	n := notify.Note{Summary: s.Text.T("A request is waiting"), Body: s.Text.T("Unlock the screen to answer.")}
	if count > 1 {
		n.Summary = s.Text.T("%d requests are waiting", count)
	}
	return n
}

// touchNote asks for the touch that a token waits for. Without a request it is
// an enrollment's.
func (s *Session) touchNote(r *ipc.Request) notify.Note {
	if r == nil {
		return notify.Note{Summary: s.Text.T("Touch your token"), Body: s.Text.T("It waits to go on with the enrollment.")}
	}
	return notify.Note{Summary: s.Text.T("Touch your token"), Body: s.Text.T("It waits to sign the answer to %s.", clientName(*r))}
}

// verifyNote says what the service, which verifies the person, waits for.
func (s *Session) verifyNote(hint string, r ipc.Request) notify.Note {
	return notify.Note{Summary: VerifyHint(s.Text, hint), Body: s.Text.T("It is for the answer to %s.", clientName(r))}
}

// VerifyHint is what the Hint of an ipc.EventVerify asks of the person.
func VerifyHint(say text.Printer, hint string) string {
	switch hint {
	case "place_finger":
		return say.T("Place your finger on the reader.")
	case "retry":
		return say.T("That did not work, try again.")
	case "swipe_too_short":
		return say.T("The swipe was too short, try again.")
	case "center_finger":
		return say.T("The finger was not centered, try again.")
	case "remove_and_retry":
		return say.T("Lift the finger, and try again.")
	case "confirm_in_dialog":
		return say.T("Confirm it in the window that your desktop shows.")
	}
	return say.T("Confirm it as your computer is set up to.")
}

// sent tells what the server made of a decision, and says "sent" only when
// the server has confirmed it.
func (s *Session) sent(client string, r ipc.Result) notify.Note {
	approved := r.Decision == ipc.Approve
	switch {
	case !r.Confirmed && approved:
		return notify.Note{Summary: s.Text.T("Not confirmed yet: approved for %s", client), Body: s.Text.T("The decision is stored and will be sent.")}
	case !r.Confirmed:
		return notify.Note{Summary: s.Text.T("Not confirmed yet: denied for %s", client), Body: s.Text.T("The decision is stored and will be sent.")}
	case approved && r.Status == statusApproved:
		return notify.Note{Summary: s.Text.T("Sent to %s: approved", client)}
	case !approved && r.Status == statusDenied:
		return notify.Note{Summary: s.Text.T("Sent to %s: denied", client)}
	}
	return notify.Note{
		Summary: s.Text.T("The request from %s is over", client),
		Body:    s.status(r.Status) + ". " + s.Text.T("Your decision came too late or did not count."),
	}
}

// The statuses that a decision asks for, as the service says them.
const (
	statusApproved = "approved"
	statusDenied   = "denied"
)

// status is a final status in words.
func (s *Session) status(status string) string {
	switch status {
	case statusApproved:
		return s.Text.T("It was approved")
	case statusDenied:
		return s.Text.T("It was denied")
	case "expired":
		return s.Text.T("It has expired")
	case "cancelled":
		return s.Text.T("It was cancelled")
	case "failed":
		return s.Text.T("It has failed")
	}
	return status
}

func (s *Session) ended(r ipc.Request, status string) notify.Note {
	return notify.Note{Summary: s.Text.T("The request from %s is over", clientName(r)), Body: s.status(status)}
}

func (s *Session) failedNote(r ipc.Request, err error) notify.Note {
	return notify.Note{Summary: s.Text.T("The request from %s could not be shown", clientName(r)), Body: s.explain(err)}
}

func (s *Session) refusedNote(r ipc.Request, err error) notify.Note {
	if unclear(err) {
		return notify.Note{Summary: s.Text.T("Not confirmed yet: the answer to %s", clientName(r)), Body: s.explain(err)}
	}
	return notify.Note{Summary: s.Text.T("Not sent to %s", clientName(r)), Body: s.explain(err)}
}

// unclear reports whether the service may have taken the decision though the
// call failed.
func unclear(err error) bool {
	refused, ok := errors.AsType[*ipc.Error](err)
	return !ok || refused.Code == ipc.CodeUnreachable
}

// explain is an error in words for people. Only the service's own words are
// safe to show anywhere; the rest is in the log.
func (s *Session) explain(err error) string {
	refused, ok := errors.AsType[*ipc.Error](err)
	if !ok {
		return s.Text.T("See the log of the session helper.")
	}
	text := strings.TrimSuffix(refused.Message, ".") + "."
	if refused.TriesLeft != nil {
		text += " " + s.Text.T("Tries left: %d.", *refused.TriesLeft)
	}
	if refused.Cure != "" {
		text += "\n" + refused.Cure
	}
	return text
}

// profileNote tells that the server has ended an enrollment or holds it off, and
// which one it is. The rest is not worth a word.
func (s *Session) profileNote(p ipc.Profile) (n notify.Note, worth bool) {
	switch p.State {
	case "revoked":
		return notify.Note{Summary: s.Text.T("The server ended your enrollment"), Body: s.Text.T("%s at %s. Ask for a new link to enroll again.", p.User, p.Server)}, true
	case "active":
		if p.RenewBy != nil {
			return notify.Note{
				Summary: s.Text.T("Renew your key for %s", p.User),
				Body:    s.Text.T("Its certificate at %s ends on %s. Run: countersign renew %s", p.Server, p.RenewBy.Local().Format(time.DateOnly), p.ID),
			}, true
		}
	case "suspended":
		return notify.Note{Summary: s.Text.T("The server suspended this device"), Body: s.Text.T("%s at %s. See: countersign doctor", p.User, p.Server)}, true
	}
	return notify.Note{}, false
}

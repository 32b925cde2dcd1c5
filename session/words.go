package session

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"countersign/ipc"
	"countersign/session/notify"
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
func waitingNote(waiting []ipc.Request) notify.Note {
	next := clientName(waiting[0])
	if len(waiting) == 1 {
		return notify.Note{Summary: "Approval request from " + next, Body: "Open it to answer."}
	}
	return notify.Note{
		Summary: fmt.Sprintf("%d approval requests", len(waiting)),
		Body:    "The next is from " + next + ". Open it to answer.",
	}
}

// lockedNote says that something waits, to whoever sees a locked screen.
func lockedNote(count int) notify.Note {
	if count == 1 {
		return notify.Note{Summary: "A request is waiting", Body: "Unlock the screen to answer."}
	}
	return notify.Note{Summary: fmt.Sprintf("%d requests are waiting", count), Body: "Unlock the screen to answer."}
}

// verifyNote says what the service waits for while it verifies the person.
func verifyNote(hint string, r *ipc.Request) notify.Note {
	n := notify.Note{Summary: "Confirm that it is you"}
	switch hint {
	case "place_finger":
		n.Summary = "Touch the fingerprint reader"
	case "retry":
		n.Summary = "Touch the fingerprint reader once more"
	}
	if r != nil {
		n.Body = "It is for the answer to " + clientName(*r) + "."
	}
	return n
}

// touchNote asks for the touch that a token waits for. Without a request it is
// an enrollment's.
func touchNote(r *ipc.Request) notify.Note {
	if r == nil {
		return notify.Note{Summary: "Touch your token", Body: "It waits to go on with the enrollment."}
	}
	return notify.Note{Summary: "Touch your token", Body: "It waits to sign the answer to " + clientName(*r) + "."}
}

// sent tells what the server made of a decision, and says "sent" only when
// the server has confirmed it.
func sent(client string, r ipc.Result) notify.Note {
	if !r.Confirmed {
		return notify.Note{
			Summary: "Not confirmed yet: " + done(r.Decision) + " for " + client,
			Body:    "The decision is stored and will be sent.",
		}
	}
	if r.Status == done(r.Decision) {
		return notify.Note{Summary: "Sent to " + client + ": " + r.Status}
	}
	return notify.Note{Summary: "The request from " + client + " is " + r.Status, Body: "Your decision came too late or did not count."}
}

func done(decision string) string {
	if decision == ipc.Approve {
		return "approved"
	}
	return "denied"
}

func ended(r ipc.Request, status string) notify.Note {
	return notify.Note{Summary: "The request from " + clientName(r) + " is over", Body: status}
}

func failedNote(r ipc.Request, err error) notify.Note {
	return notify.Note{Summary: "The request from " + clientName(r) + " could not be shown", Body: explain(err)}
}

func refusedNote(r ipc.Request, err error) notify.Note {
	if unclear(err) {
		return notify.Note{Summary: "Not confirmed yet: the answer to " + clientName(r), Body: explain(err)}
	}
	return notify.Note{Summary: "Not sent to " + clientName(r), Body: explain(err)}
}

// unclear reports whether the service may have taken the decision though the
// call failed.
func unclear(err error) bool {
	refused, ok := errors.AsType[*ipc.Error](err)
	return !ok || refused.Code == ipc.CodeUnreachable
}

// explain is an error in words for people. Only the service's own words are
// safe to show anywhere; the rest is in the log.
func explain(err error) string {
	refused, ok := errors.AsType[*ipc.Error](err)
	if !ok {
		return "See the log of the session helper."
	}
	text := strings.TrimSuffix(refused.Message, ".") + "."
	if refused.TriesLeft != nil {
		text += fmt.Sprintf(" Tries left: %d.", *refused.TriesLeft)
	}
	if refused.Cure != "" {
		text += "\n" + refused.Cure
	}
	return text
}

// profileNote tells that the server has ended an enrollment or holds it off, and
// which one it is. The rest is not worth a word.
func profileNote(p ipc.Profile) (n notify.Note, worth bool) {
	account := p.User + " at " + p.Server
	switch p.State {
	case "revoked":
		return notify.Note{Summary: "The server ended your enrollment", Body: account + ". Ask for a new link to enroll again."}, true
	case "suspended":
		return notify.Note{Summary: "The server suspended this device", Body: account + ". See: countersign doctor"}, true
	}
	return notify.Note{}, false
}

package session

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/text"
)

// TestNotesHoldNoHostileText: of what relying parties write, notifications hold
// the name alone, on one line and of a bounded length.
func TestNotesHoldNoHostileText(t *testing.T) {
	t.Parallel()
	var sessions []*Session
	for _, language := range text.Languages() {
		sessions = append(sessions, &Session{Text: text.In(language)})
	}
	for i, name := range testenv.HostileTexts(2000) {
		s := sessions[i%len(sessions)]
		r := ipc.Request{Client: ipc.RelyingParty{Name: name}, Message: "MESSAGE\x1b" + name}
		err := errors.New("an error with " + name)
		for _, n := range []notify.Note{
			s.waitingNote([]ipc.Request{r}), s.waitingNote([]ipc.Request{r, r}), s.touchNote(&r), s.ended(r, "expired"), s.failedNote(r, err), s.refusedNote(r, err),
			s.sent(clientName(r), ipc.Result{Decision: ipc.Approve, Confirmed: true, Status: "approved"}),
		} {
			said := n.Summary + n.Body
			switch {
			case !utf8.ValidString(said) || strings.ContainsFunc(said, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }):
				t.Errorf("%q is told", said)
			case utf8.RuneCountInString(said) > 300:
				t.Errorf("%d characters are told", utf8.RuneCountInString(said))
			case strings.Contains(said, "MESSAGE"):
				t.Errorf("the message is told: %q", said)
			case name != "" && len(name) <= nameMax && clientName(r) == name && !strings.Contains(said, name):
				t.Errorf("%q is not told in %q", name, said)
			}
		}
	}
}

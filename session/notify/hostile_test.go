package notify_test

import (
	"html"
	"slices"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/session/notify"
)

// TestNothingReachesTheBusAsMarkup offers hostile texts to a daemon that takes
// markup, over a real bus.
func TestNothingReachesTheBusAsMarkup(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"actions", "body-markup"}})
	// A string that is not UTF-8, or holds NUL, is none of D-Bus, and the session
	// makes none.
	texts := slices.DeleteFunc(testenv.HostileTexts(2000), func(s string) bool {
		return s == "" || strings.ToValidUTF8(s, "") != s || strings.Contains(s, "\x00") || len(s) > 4096
	})
	if len(texts) < 1500 {
		t.Fatalf("only %d texts", len(texts))
	}
	for i, text := range texts {
		n.Offer(waiting(text), notify.Arrived)
		got := daemon.waitNote(t, i+1)
		if strings.ContainsAny(got.body, "<>\"'") || html.UnescapeString(got.body) != text {
			t.Errorf("%q reached the bus as %q", text, got.body)
		}
	}
}

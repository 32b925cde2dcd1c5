package prompt_test

import (
	"strings"
	"testing"

	"countersign/ipc"
	"countersign/session/prompt"
)

func display(lines ...string) ipc.Display {
	return ipc.Display{
		Request: ipc.Request{ID: "t1", Client: ipc.RelyingParty{Name: "Bank"}},
		Account: "alice@bank.example", Lines: lines, RequestHash: "req", DisplayHash: "dis",
	}
}

func TestLinesAreExact(t *testing.T) {
	lines := []string{"Bank asks:", "  " + strings.Repeat("word ", 100), "  <b>100 %</b>\\n", "Server: x"}
	var b strings.Builder
	if err := prompt.Lines(&b, display(lines...), 0); err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(lines, "\n") + "\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// TestNoTextReachesTheFirstColumn breaks lines that were made to imitate ours.
func TestNoTextReachesTheFirstColumn(t *testing.T) {
	line := "  " + strings.Repeat("Server: good.example ", 40) + strings.Repeat("字", 200)
	for width := 20; width < 130; width++ {
		var b strings.Builder
		if err := prompt.Lines(&b, display(line), width); err != nil {
			t.Fatal(err)
		}
		joined := ""
		for i, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if !strings.HasPrefix(l, "  ") || len([]rune(l)) > width {
				t.Fatalf("width %d: line %q", width, l)
			}
			if i > 0 {
				l = strings.TrimPrefix(l, "    ")
			}
			joined += l
		}
		if joined != line {
			t.Fatalf("width %d: text was lost", width)
		}
	}
}

func TestControlCharactersAreRefused(t *testing.T) {
	for _, bad := range []string{"a\x1b[2Jb", "a\nb", "a\rb", "a\u202eb", "a\u200bb", "a\u2028b", "a\xffb", "a\u0085b"} {
		var b strings.Builder
		if err := prompt.Lines(&b, display("fine", bad), 0); err == nil || b.Len() > 0 {
			t.Errorf("%q: error %v, wrote %q", bad, err, b.String())
		}
		if _, err := (&prompt.Pinentry{Program: "/nonexistent"}).Ask(t.Context(), prompt.Question{Display: display(bad)}); err == nil || strings.Contains(err.Error(), "nonexistent") {
			t.Errorf("%q: a window was opened: %v", bad, err)
		}
	}
	if err := prompt.Lines(&strings.Builder{}, display(), 0); err == nil {
		t.Error("an empty record is shown")
	}
}

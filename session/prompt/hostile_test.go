package prompt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"countersign/internal/testenv"
)

// TestHostileTextsAreRefusedOrToldWhole shows a record with each text to what
// takes an Assuan line apart as pinentry does.
func TestHostileTextsAreRefusedOrToldWhole(t *testing.T) {
	t.Parallel()
	refused, shown := 0, 0
	for _, text := range testenv.HostileTexts(2000) {
		d := display("Request from Bank:", "  "+text, "Server: https://bank.example")
		if check(d) != nil {
			refused++
			continue
		}
		shown++
		if len(text) > 4096 {
			continue // many thousand pages, and no line of any record
		}
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unshowable) {
			t.Errorf("%.80q is shown", text)
		}
		joined := ""
		for _, page := range pages(d.Lines, pageWidth, pageHeight, pageBytes, ems) {
			joined += told(t, page) + "\n"
		}
		if want := rejoined(t, joined); want != "  "+strings.ReplaceAll(text, "\u00a0", " ") {
			t.Errorf("%.80q became %.80q", text, want)
		}
	}
	if refused < 500 || shown < 500 {
		t.Errorf("%d refused, %d shown: that tries too little", refused, shown)
	}
}

// rejoined is the one line of a relying party in what was told, demanding that
// ours are the only others in the first column.
func rejoined(t *testing.T, told string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(told, "\u00a0", " "), "\n"), "\n")
	last := len(lines) - 1
	if lines[0] != "Request from Bank:" || lines[last] != "Server: https://bank.example" {
		t.Fatalf("our lines are %q and %q", lines[0], lines[last])
	}
	text := ""
	for i, l := range lines[1:last] {
		if !strings.HasPrefix(l, "  ") {
			t.Fatalf("%q stands in the first column", l)
		}
		if i > 0 {
			l = strings.TrimPrefix(l, hang)
		}
		text += l
	}
	return text
}

// recorder is a pinentry program that writes down what it is told and answers
// that the window was closed.
const recorder = `#!/bin/sh
echo OK
while IFS= read -r line; do
	printf '%s\n' "$line" >>"$0.log"
	case $line in
	CONFIRM*|GETPIN*) echo 'ERR 83886179 Operation cancelled' ;;
	*) echo OK ;;
	esac
done
`

// TestAProgramGetsNoCommandOutOfText shows hostile texts to a program of its own
// through the pipe, and reads back what came.
func TestAProgramGetsNoCommandOutOfText(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "pinentry")
	if err := os.WriteFile(program, []byte(recorder), 0o700); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for i, text := range testenv.HostileTexts(2000) {
		if i%4 != 0 || len(text) > 1024 { // a process for each page
			continue
		}
		q := Question{Display: display("Request from Bank:", "  "+text)}
		q.Display.Client.Name, q.Display.Account = text, text
		p := &Pinentry{Program: program, Now: func() time.Time { return time.Unix(0, 0) }}
		_, err := p.Ask(t.Context(), q)
		if !errors.Is(err, ErrNoAnswer) {
			if check(q.Display) == nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		asked++
	}
	said, err := os.ReadFile(program + ".log")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(said)) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		count[word]++
	}
	for word, n := range count {
		switch word {
		case "SETTITLE", "SETDESC", "SETOK", "SETNOTOK", "SETCANCEL", "CONFIRM", "GETINFO":
			if n != asked {
				t.Errorf("%s came %d times for %d pages", word, n, asked)
			}
		case "OPTION":
		default:
			t.Errorf("%.80q came %d times", word, n)
		}
	}
	if asked < 50 {
		t.Errorf("only %d were shown", asked)
	}
}

package prompt_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/prompt"
)

// earlyUntil is how long after a window has come up keys are pressed in it that
// would approve.
const earlyUntil = 900 * time.Millisecond

// TestRealKeysThatComeEarly presses what approves, in windows that have just come
// up: somebody was typing, and the prompt came in between.
func TestRealKeysThatComeEarly(t *testing.T) {
	testenv.Need(t, "pinentry-qt")
	typing := prompt.Question{Display: record(), Number: "42", Refused: &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong"}}
	typing.Display.NumberDigits, typing.Display.PINNeeded = 2, true
	pin := []string{"1", "2", "3", "4", "5", "6", "Return"}
	for name, c := range map[string]struct {
		program, title string
		question       prompt.Question
		keys           []string
		steps          int
	}{
		"a button in GTK": {"pinentry-gtk-2", "Countersign request", prompt.Question{Display: record()}, []string{"shift+Tab", "Return"}, 20},
		"a PIN in GTK":    {"pinentry-gtk-2", "Countersign PIN", typing, pin, 20},
		"a slow button":   {slowPinentry(t), "Countersign request", prompt.Question{Display: record()}, []string{"shift+Tab", "Return"}, 6},
		"a PIN in Qt":     {"pinentry-qt", "Countersign PIN", typing, pin, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := testenv.StartDesktop(t)
			p := &prompt.Pinentry{Program: c.program, Display: d.Display}
			arrived := 0
			for step := range c.steps {
				if early(t, d, p, c.question, c.title, earlyUntil*time.Duration(step)/time.Duration(c.steps), c.keys) {
					arrived++
				}
			}
			// Most of them are answers, if of the wrong time.
			if arrived < c.steps/2 {
				t.Errorf("only %d of %d windows got their keys", arrived, c.steps)
			}
			result := ask(t, t.Context(), p, c.question)
			d.WaitWindow(c.title)
			<-time.After(1500 * time.Millisecond)
			d.XdoKey(c.keys...)
			if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Approve {
				t.Errorf("after a second and a half: %+v", a)
			}
		})
	}
}

// slowPinentry is a pinentry program whose windows come up a while after they were
// asked for, as they do on a busy machine.
func slowPinentry(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pinentry")
	script := `#!/bin/bash
exec pinentry-gtk-2 "$@" < <(while IFS= read -r line; do
	case $line in CONFIRM*) sleep 0.3 ;; esac
	printf '%s\n' "$line"
done)
`
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// early presses keys in a window of its own, some time after it has come up, and
// reports whether they got there: then the page is shown again.
func early(t *testing.T, d *testenv.Desktop, p *prompt.Pinentry, q prompt.Question, title string, after time.Duration, keys []string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := ask(t, ctx, p, q)
	d.WaitWindow(title)
	up := time.Now()
	window := d.FocusedPID()
	<-time.After(after - time.Since(up))
	d.XdoKeysAtOnce(keys...)
	pressed := time.Since(up)
	deadline := time.After(2 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for again := false; ; {
		select {
		case a := <-result:
			if pressed <= earlyUntil {
				t.Errorf("keys %v after the window came up: %+v", pressed, a)
			}
			return false
		case <-tick.C:
			pid := d.FocusedPID()
			again = again || pid != "" && pid != window
		case <-deadline:
		}
		if again || time.Since(up) > after+2*time.Second {
			cancel()
			if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
				t.Errorf("keys %v after the window came up: %+v", pressed, a)
			}
			return again
		}
	}
}

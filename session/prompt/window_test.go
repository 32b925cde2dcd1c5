package prompt_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/prompt"
)

type asked struct {
	answer ipc.Answer
	err    error
}

// ask asks in the background, until the test or ctx ends.
func ask(t *testing.T, ctx context.Context, p interface {
	Ask(context.Context, prompt.Question) (ipc.Answer, error)
}, q prompt.Question,
) <-chan asked {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan asked, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err := p.Ask(ctx, q)
		result <- asked{a, err}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return result
}

func wait(t *testing.T, c <-chan asked) asked {
	t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("the prompt does not end")
		return asked{}
	}
}

func gtk(t *testing.T) (*testenv.Desktop, *prompt.Pinentry) {
	t.Helper()
	t.Parallel()
	d := testenv.StartDesktop(t)
	return d, &prompt.Pinentry{Program: "pinentry-gtk-2", Display: d.Display}
}

func record() ipc.Display {
	return display("Bank asks you to approve:", "  Pay 40 EUR, 100% <b>sure</b>", "Server: https://bank.example")
}

// TestFirstFocusNeverApproves presses what a startled person presses.
func TestFirstFocusNeverApproves(t *testing.T) {
	d, p := gtk(t)
	for _, key := range []string{"Return", "space", "Escape", "KP_Enter"} {
		result := ask(t, t.Context(), p, prompt.Question{Display: record()})
		d.Answerable("Countersign request")
		d.XdoKey(key)
		if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
			t.Errorf("%s: %+v", key, a)
		}
	}
}

func TestApproveWithoutTyping(t *testing.T) {
	d, p := gtk(t)
	result := ask(t, t.Context(), p, prompt.Question{Display: record()})
	d.Answerable("Countersign request: alice@bank.example")
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		d.Screenshot(filepath.Join(dir, "short.png"))
	}
	d.XdoKey("shift+Tab", "Return")
	a := wait(t, result)
	if a.err != nil || a.answer.Decision != ipc.Approve || a.answer.DisplayHash != "dis" || a.answer.RequestHash != "req" {
		t.Errorf("%+v", a)
	}
}

// TestEarlyAnswersAreDiscarded stops the clock: every answer comes too early
// until it is set forward.
func TestEarlyAnswersAreDiscarded(t *testing.T) {
	d, p := gtk(t)
	var late atomic.Int64
	start := time.Now()
	p.Now = func() time.Time { return start.Add(time.Duration(late.Load())) }
	q := prompt.Question{Display: record()}
	q.Display.PINNeeded = true
	result := ask(t, t.Context(), p, q)
	again := func(page string, press func()) {
		t.Helper()
		d.WaitWindow("Countersign " + page)
		before := d.FocusedPID()
		press()
		testenv.Eventually(t, "the page is shown again", func() bool {
			pid := d.FocusedPID()
			return pid != "" && pid != before
		})
		d.WaitWindow("Countersign " + page)
	}
	again("request", func() { d.XdoKey("shift+Tab", "Return") })
	again("request", func() { d.XdoKey("Tab", "Return") }) // Deny
	late.Store(int64(time.Hour))
	d.XdoKey("shift+Tab", "Return")
	again("PIN", func() { d.XdoType("111111"); d.XdoKey("Return") })
	late.Store(int64(2 * time.Hour))
	d.XdoType("222222")
	d.XdoKey("Return")
	a := wait(t, result)
	if a.err != nil || string(a.answer.PIN.Reveal()) != "222222" {
		t.Errorf("%+v", a)
	}
}

func TestNumberMustHaveItsDigits(t *testing.T) {
	d, p := gtk(t)
	q := prompt.Question{Display: record()}
	q.Display.NumberDigits = 3
	result := ask(t, t.Context(), p, q)
	d.Answerable("Countersign request")
	d.XdoKey("shift+Tab", "Return")
	for _, number := range []string{"12", "12a", "007"} {
		d.Answerable("Countersign number")
		d.XdoType(number)
		d.XdoKey("Return")
	}
	if a := wait(t, result); a.err != nil || a.answer.Number != "007" {
		t.Errorf("%+v", a)
	}
}

func TestOnlyWhatWasWrongIsAsked(t *testing.T) {
	d, p := gtk(t)
	q := prompt.Question{Display: record(), Number: "42", Refused: &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong"}}
	q.Display.NumberDigits, q.Display.PINNeeded = 2, true
	result := ask(t, t.Context(), p, q)
	d.Answerable("Countersign PIN")
	d.XdoType("p%n &")
	d.XdoKey("Return")
	a := wait(t, result)
	if a.err != nil || a.answer.Number != "42" || string(a.answer.PIN.Reveal()) != "p%n &" {
		t.Errorf("%+v", a)
	}
}

// TestARefusalWithNothingToTypeShowsTheRecord: no answer is ever sent twice by
// itself, whatever a service says.
func TestARefusalWithNothingToTypeShowsTheRecord(t *testing.T) {
	d, p := gtk(t)
	q := prompt.Question{Display: record(), Refused: &ipc.Error{Code: ipc.CodeWrongPIN, Message: "the PIN is wrong"}}
	result := ask(t, t.Context(), p, q)
	d.Answerable("Countersign request")
	d.XdoKey("Escape")
	if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
		t.Errorf("%+v", a)
	}
}

// TestALongRecordTakesPages has the largest record the protocol allows.
func TestALongRecordTakesPages(t *testing.T) {
	d, p := gtk(t)
	q := prompt.Question{Display: display("Bank asks you to approve:", "  "+strings.Repeat("word ", 204))}
	q.Display.Lines = append(q.Display.Lines, "  "+strings.Repeat("W", 100)+strings.Repeat("m@W ", 100), "  "+strings.Repeat("ooooobdpq ", 40))
	for range 4 {
		q.Display.Lines = append(q.Display.Lines, "  "+strings.Repeat("字", 40)+": "+strings.Repeat("%", 300))
	}
	q.Display.Lines = append(q.Display.Lines, "Server: https://bank.example")
	result := ask(t, t.Context(), p, q)
	d.Answerable("Countersign request: alice@bank.example (1/")
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		d.Screenshot(filepath.Join(dir, "long.png"))
	}
	title := d.FocusedWindow()
	_, total, _ := strings.Cut(strings.TrimSuffix(title, ")"), "/")
	for page := "1"; ; {
		d.XdoKey("shift+Tab", "Return")
		if page == total {
			break
		}
		d.WaitNoWindow("(" + page + "/")
		d.Answerable("/" + total + ")")
		page, _, _ = strings.Cut(d.FocusedWindow()[strings.Index(d.FocusedWindow(), "(")+1:], "/")
	}
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Approve {
		t.Errorf("%+v", a)
	}
}

func TestTheEndOfContextClosesTheWindow(t *testing.T) {
	d, p := gtk(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := ask(t, ctx, p, prompt.Question{Display: record()})
	d.WaitWindow("Countersign request")
	cancel()
	if a := wait(t, result); !errors.Is(a.err, prompt.ErrNoAnswer) {
		t.Errorf("%+v", a)
	}
	d.WaitNoWindow("Countersign")
}

func TestAProgramThatIsNoPinentry(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"/nonexistent/pinentry", "/bin/true", "/bin/cat"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		a, err := (&prompt.Pinentry{Program: program}).Ask(ctx, prompt.Question{Display: record()})
		if err == nil || a.Decision != "" {
			t.Errorf("%s: %+v, %v", program, a, err)
		}
	}
}

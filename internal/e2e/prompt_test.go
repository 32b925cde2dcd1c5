package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countersign/internal/testenv"
)

// onDesktop starts the prompt helper in a desktop session of its own.
func onDesktop(t *testing.T, d *device) *testenv.Desktop {
	t.Helper()
	desk := testenv.StartDesktop(t)
	cmd := exec.Command(filepath.Join(bin, "countersign"), "session", "--prompt", "desktop", "--pinentry", "pinentry-gtk-2", "--socket", d.socket())
	cmd.Env = desk.Env()
	log := new(testenv.Log)
	startCommand(t, log, cmd)
	testenv.Eventually(t, "the session helper to be ready", func() bool { return strings.Contains(log.String(), "ready") })
	return desk
}

// open takes the offer of the notification and waits for the first page.
func open(desk *testenv.Desktop) {
	desk.WaitNotification()
	desk.DunstAction()
	desk.Answerable("Countersign request")
}

// TestApproveOnTheDesktop is the whole job as a person does it: notification,
// click, the record, the number, the PIN.
func TestApproveOnTheDesktop(t *testing.T) {
	_, d, p := world(t)
	desk := onDesktop(t, d)
	tx := p.begin("login")
	open(desk)
	desk.XdoKey("shift+Tab", "Return") // Continue does not have the focus
	desk.Answerable("Countersign number")
	desk.XdoType(tx.Number)
	desk.XdoKey("Return")
	desk.Answerable("Countersign PIN")
	desk.XdoType(pin)
	desk.XdoKey("Return")
	p.verified(p.ends(tx, "approved"))
	testenv.Eventually(t, "the result to be told", func() bool { return strings.Contains(desk.NotificationLog(), "Sent to") })
	if log := desk.NotificationLog(); strings.Contains(log, tx.Number) || strings.Contains(log, "12.50") {
		t.Error("a notification told what is for the prompt alone")
	}
}

// TestDesktopSilenceIsNoConsent: Return on the first focus, Escape and a
// closed notification leave the request pending.
func TestDesktopSilenceIsNoConsent(t *testing.T) {
	_, d, p := world(t)
	desk := onDesktop(t, d)
	tx := p.begin("login")
	for _, key := range []string{"Return", "Escape"} {
		open(desk)
		desk.XdoKey(key)
		desk.WaitNoWindow("Countersign request")
	}
	desk.WaitNotification()
	desk.DunstClose()
	if !d.lists(tx.ID) || p.now(tx.ID).Status != "pending" {
		t.Errorf("without an answer the server says %s", p.now(tx.ID).raw)
	}
	d.approvalKeySigned(0)
}

// TestNotMeOnTheDesktop denies, and says that it was somebody else.
func TestNotMeOnTheDesktop(t *testing.T) {
	_, d, p := world(t)
	desk := onDesktop(t, d)
	tx := p.begin("login")
	open(desk)
	desk.XdoKey("Tab", "Return")
	desk.Answerable("Countersign denial")
	desk.XdoKey("Tab", "Return")
	if got := p.get(tx.ID); got.Status != "denied" || got.Reason != "not_me" {
		t.Fatalf("the server says %s", got.raw)
	}
}

// onTerminal has the session helper ask on a terminal.
func onTerminal(t *testing.T, d *device) *testenv.Screen {
	t.Helper()
	term, p := atTerminal(t, d, "session", "--prompt", "terminal")
	testenv.Eventually(t, "the session helper to be ready", func() bool { return strings.Contains(p.log.String(), "ready") })
	return term
}

// atTerminal runs a command on a terminal of its own.
func atTerminal(t *testing.T, d *device, args ...string) (*testenv.Screen, *process) {
	t.Helper()
	term, pts := testenv.OpenScreen(t)
	cmd := exec.Command(filepath.Join(bin, "countersign"), append(args, "--socket", d.socket())...)
	cmd.Stdin = pts
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := startCommand(t, new(testenv.Log), cmd)
	_ = pts.Close()
	return term, p
}

// TestApproveOnATerminal is the same job where there is no display.
func TestApproveOnATerminal(t *testing.T) {
	_, d, p := world(t)
	term := onTerminal(t, d)
	tx := p.begin("login")
	term.Answer("[a/d/n] ", "a")
	term.Answer("Number shown by", tx.Number)
	term.Answer("PIN: ", pin)
	p.verified(p.ends(tx, "approved"))
	if out := term.Text(); !strings.Contains(out, "Pay 12.50 EUR to Bob") || strings.Contains(out, pin) {
		t.Errorf("the terminal showed %q", out)
	}
}

// TestTerminalSilenceIsNoConsent: Return alone is no answer; then not me is.
func TestTerminalSilenceIsNoConsent(t *testing.T) {
	_, d, p := world(t)
	term := onTerminal(t, d)
	tx := p.begin("login")
	term.Answer("[a/d/n] ", "")
	term.Answer("Press Return to see it", "")
	if p.now(tx.ID).Status != "pending" {
		t.Errorf("without an answer the server says %s", p.now(tx.ID).raw)
	}
	term.Answer("[a/d/n] ", "n")
	if got := p.get(tx.ID); got.Status != "denied" || got.Reason != "not_me" {
		t.Fatalf("the server says %s", got.raw)
	}
}

// TestWrongNumberThenRightOnTheDesktop: a wrong number brings its page back,
// with the prompt still open.
func TestWrongNumberThenRightOnTheDesktop(t *testing.T) {
	_, d, p := world(t)
	desk := onDesktop(t, d)
	tx := p.begin("confirm")
	open(desk)
	desk.XdoKey("shift+Tab", "Return")
	desk.Answerable("Countersign number")
	desk.XdoType(wrong(tx.Number))
	desk.XdoKey("Return")
	testenv.Eventually(t, "the wrong number to be logged", func() bool { return strings.Contains(d.log.String(), "wrong_number") })
	desk.Answerable("Countersign number")
	desk.XdoType(tx.Number)
	desk.XdoKey("Return")
	p.ends(tx, "approved")
}

// TestWrongAnswersThenRightOnATerminal: a wrong number and a wrong PIN are each
// asked again.
func TestWrongAnswersThenRightOnATerminal(t *testing.T) {
	_, d, p := world(t)
	term := onTerminal(t, d)
	tx := p.begin("login")
	term.Answer("[a/d/n] ", "a")
	term.Answer("Number shown by", wrong(tx.Number))
	term.Answer("PIN: ", pin)
	term.Answer("Number shown by", tx.Number)
	term.Answer("PIN: ", "000000")
	term.Answer("PIN: ", pin)
	if got := p.get(tx.ID); got.Status != "approved" {
		t.Fatalf("the server says %s\n%s", got.raw, term.Text())
	}
}

// TestWrongNumberElsewhereKeepsThePrompt: a wrong number typed in a terminal
// does not take the request off the desktop.
func TestWrongNumberElsewhereKeepsThePrompt(t *testing.T) {
	_, d, p := world(t)
	desk := onDesktop(t, d)
	tx := p.begin("confirm")
	desk.WaitNotification()
	d.cli("", "approve", tx.ID, "--number", wrong(tx.Number)).want(t, 1)
	open(desk)
	desk.XdoKey("shift+Tab", "Return")
	desk.Answerable("Countersign number")
	desk.XdoType(tx.Number)
	desk.XdoKey("Return")
	p.ends(tx, "approved")
}

package prompt_test

import (
	"slices"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session/prompt"
	"countersign/session/text"
)

// heard is a desktop with a screen reader, and a prompt on it that is told of to
// screen readers.
func heard(t *testing.T, program string) (*testenv.Desktop, *testenv.ScreenReader, *prompt.Pinentry) {
	t.Helper()
	t.Parallel()
	d := testenv.StartDesktop(t)
	reader := d.StartScreenReader()
	vars := testenv.AccessibleVars()
	vars["DBUS_SESSION_BUS_ADDRESS"] = d.BusAddress
	return d, reader, &prompt.Pinentry{Program: d.WithVars(program, vars), Display: d.Display}
}

func role(name string) func(testenv.Node) bool {
	return func(n testenv.Node) bool { return n.Role == name }
}

func names(nodes []testenv.Node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return list
}

// visible is a text as it is heard: indents are kept from being dropped by
// no-break spaces, which sound the same.
func visible(s string) string { return strings.ReplaceAll(s, "\u00a0", " ") }

// page demands that a window tells a text whole, these buttons and no others,
// and what has the focus.
func page(t *testing.T, window testenv.Node, text string, buttons []string, focused string) {
	t.Helper()
	var texts []string
	for _, n := range window.Find(role("label")) {
		texts = append(texts, visible(n.Name))
	}
	if !slices.Contains(texts, text) {
		t.Errorf("%q is not told in\n%v", text, window)
	}
	found := names(window.Find(role("push button")))
	slices.Sort(found)
	if !slices.Equal(found, slices.Sorted(slices.Values(buttons))) {
		t.Errorf("buttons are %q, want %q", found, buttons)
	}
	focus := window.Find(func(n testenv.Node) bool { return n.Focused && len(n.Children) == 0 })
	if len(focus) != 1 || focus[0].Role+" "+focus[0].Name != focused {
		t.Errorf("%q has no focus in\n%v", focused, window)
	}
}

// TestScreenReadersAreToldTheRecord approves and denies by keys alone, knowing
// no more than what a screen reader is told.
func TestScreenReadersAreToldTheRecord(t *testing.T) {
	d, reader, p := heard(t, "pinentry-gtk-2")
	q := prompt.Question{Display: record()}
	q.Display.NumberDigits, q.Display.PINNeeded = 3, true
	left := 4
	q.Display.PINTriesLeft = &left
	whole := strings.Join(q.Display.Lines, "\n")
	result := ask(t, t.Context(), p, q)

	page(t, reader.Window("Countersign request: alice@bank.example"), whole, []string{"Continue", "Deny / Not me", "Not now"}, "push button Not now")
	d.Answerable("Countersign request")
	d.XdoKey("shift+Tab", "Return")

	field(t, reader.Window("Countersign number"), "Type the number of 3 digits that Bank shows.\nIf it shows none, close this window.", "Number:", "Continue")
	d.Answerable("Countersign number")
	d.XdoType("042")
	d.XdoKey("Return")

	pin := reader.Window("Countersign PIN")
	field(t, pin, "Type your PIN to approve the request of Bank.\nTries left: 4.", "PIN:", "Approve")
	d.Answerable("Countersign PIN")
	d.XdoType("493817")
	if typed := reader.Window("Countersign PIN").String(); strings.Contains(typed, "493817") {
		t.Error("the PIN is told")
	}
	d.XdoKey("Return")
	a := wait(t, result)
	if a.err != nil || a.answer.Decision != ipc.Approve || a.answer.Number != "042" || string(a.answer.PIN.Reveal()) != "493817" {
		t.Errorf("%+v", a)
	}
}

// field demands a page with something to type, its label, and the focus in the
// field.
func field(t *testing.T, window testenv.Node, text, label, ok string) {
	t.Helper()
	page(t, window, text, []string{ok, "Not now"}, "password text ")
	if !slices.Contains(names(window.Find(role("label"))), label) {
		t.Errorf("no label %q in\n%v", label, window)
	}
}

// TestScreenReadersAreToldOfDenial, in another language.
func TestScreenReadersAreToldOfDenial(t *testing.T) {
	d, reader, p := heard(t, "pinentry-gtk-2")
	q := prompt.Question{Display: record(), Text: text.In("de")}
	result := ask(t, t.Context(), p, q)
	page(t, reader.Window("Countersign Anfrage"), strings.Join(q.Display.Lines, "\n"), []string{"Bestätigen", "Ablehnen / Nicht ich", "Nicht jetzt"}, "push button Nicht jetzt")
	d.Answerable("Countersign Anfrage")
	d.XdoKey("Tab", "Return")
	page(
		t, reader.Window("Countersign Ablehnung"),
		"Lehnen Sie ab, oder sagen Sie, dass Sie dies nicht begonnen haben: Dann ist Bank gesperrt, bis Sie es aufheben.",
		[]string{"Ablehnen", "Nicht ich", "Nicht jetzt"}, "push button Nicht jetzt",
	)
	d.Answerable("Countersign Ablehnung")
	d.XdoKey("Tab", "Return")
	if a := wait(t, result); a.err != nil || a.answer.Decision != ipc.Deny || a.answer.Reason != ipc.NotMe {
		t.Errorf("%+v", a)
	}
}

// TestScreenReadersAreToldByQt: this flavor tells its confirmations. Of its
// fields, as of version 1.2.1, it tells nothing.
func TestScreenReadersAreToldByQt(t *testing.T) {
	testenv.Need(t, "pinentry-qt")
	d, reader, p := heard(t, "pinentry-qt")
	result := ask(t, t.Context(), p, prompt.Question{Display: record()})
	page(t, reader.Window("Countersign request"), strings.Join(record().Lines, "\n"), []string{"Approve", "Deny / Not me", "Not now"}, "push button Not now")
	d.Answerable("Countersign request")
	d.XdoKey("Escape")
	if a := wait(t, result); a.err == nil {
		t.Errorf("%+v", a)
	}
}

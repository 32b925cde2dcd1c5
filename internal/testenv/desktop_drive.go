package testenv

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// guard is a little more than the time in which prompts take no answer.
const guard = 1500 * time.Millisecond

// Displayed returns how many notifications dunst displays, as dunstctl prints
// it.
func (d *Desktop) Displayed() string {
	out, _ := d.run("dunstctl", "count", "displayed")
	return out
}

// WaitNotification waits until a notification is on the screen.
func (d *Desktop) WaitNotification() {
	d.tb.Helper()
	Eventually(d.tb, "a notification is displayed", func() bool {
		n := d.Displayed()
		return n != "" && n != "0"
	})
}

// WaitNoNotification waits until none is on the screen.
func (d *Desktop) WaitNoNotification() {
	d.tb.Helper()
	Eventually(d.tb, "no notification is displayed", func() bool { return d.Displayed() == "0" })
}

// meant is a little more than the time in which a click on a notification that
// has just appeared does not count.
const meant = 400 * time.Millisecond

// WaitMeant lets that time pass.
func WaitMeant() { wait(meant) }

// wait lets time pass that a rule under test asks for.
func wait(long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	<-timer.C
}

// DunstAction invokes the action of the newest notification, as its middle
// click does.
func (d *Desktop) DunstAction() {
	d.tb.Helper()
	wait(meant)
	if out, err := d.run("dunstctl", "action", "0"); err != nil {
		d.tb.Fatalf("dunstctl action: %v: %s", err, out)
	}
}

// DunstClose dismisses all notifications.
func (d *Desktop) DunstClose() {
	d.tb.Helper()
	if out, err := d.run("dunstctl", "close-all"); err != nil {
		d.tb.Fatalf("dunstctl close-all: %v: %s", err, out)
	}
}

// XdoType types a text into the window that has the focus, slowly enough for
// a window that has just come up.
func (d *Desktop) XdoType(text string) {
	d.tb.Helper()
	d.xdo("type", "--delay", "60", text)
}

// XdoKey presses keys, e.g. "Return", "shift+Tab", in the focused window.
func (d *Desktop) XdoKey(keys ...string) {
	d.tb.Helper()
	d.xdo(append([]string{"key", "--delay", "60"}, keys...)...)
}

// XdoKeysAtOnce presses keys as fast as they go.
func (d *Desktop) XdoKeysAtOnce(keys ...string) {
	d.tb.Helper()
	d.xdo(append([]string{"key", "--delay", "0"}, keys...)...)
}

func (d *Desktop) xdo(args ...string) string {
	d.tb.Helper()
	out, err := d.run("xdotool", args...)
	if err != nil {
		d.tb.Fatalf("xdotool %s: %v: %s", args[0], err, out)
	}
	return out
}

// WindowNames returns the titles of the visible windows.
func (d *Desktop) WindowNames() []string {
	ids, err := d.run("xdotool", "search", "--onlyvisible", "--name", ".")
	if err != nil {
		return nil // none
	}
	var names []string
	for _, id := range strings.Fields(ids) {
		if name, err := d.run("xdotool", "getwindowname", id); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// HasWindow reports whether a visible window has a title with that text.
func (d *Desktop) HasWindow(title string) bool {
	return slices.ContainsFunc(d.WindowNames(), func(n string) bool { return strings.Contains(n, title) })
}

// FocusedWindow returns the title of the window that gets the keys.
func (d *Desktop) FocusedWindow() string {
	name, err := d.run("xdotool", "getwindowfocus", "getwindowname")
	if err != nil {
		return ""
	}
	return name
}

// FocusedPID returns the process id of the program whose window gets the keys,
// as that program declares it, or "".
func (d *Desktop) FocusedPID() string {
	pid, err := d.run("xdotool", "getwindowfocus", "getwindowpid")
	if err != nil {
		return ""
	}
	return pid
}

// WaitWindow waits until a window with that text in its title has the focus.
func (d *Desktop) WaitWindow(title string) {
	d.tb.Helper()
	Eventually(d.tb, "a window named "+title+" has the focus", func() bool {
		return strings.Contains(d.FocusedWindow(), title)
	})
}

// WaitNoWindow waits until no window has that text in its title.
func (d *Desktop) WaitNoWindow(title string) {
	d.tb.Helper()
	Eventually(d.tb, "no window is named "+title, func() bool { return !d.HasWindow(title) })
}

// Answerable waits until the window with that title takes answers: it has the
// focus and has had it for more than a second.
func (d *Desktop) Answerable(title string) {
	d.tb.Helper()
	d.WaitWindow(title)
	wait(guard)
	d.WaitWindow(title)
}

// Click presses a mouse button (1 is left, 2 the middle) on the first visible
// window of a class.
func (d *Desktop) Click(class string, button int) {
	d.tb.Helper()
	wait(meant)
	var id string
	Eventually(d.tb, "a window of class "+class, func() bool {
		ids, err := d.run("xdotool", "search", "--onlyvisible", "--class", class)
		id, _, _ = strings.Cut(ids, "\n")
		return err == nil && id != ""
	})
	d.xdo("mousemove", "--window", id, "20", "20", "click", strconv.Itoa(button))
}

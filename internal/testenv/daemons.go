package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Daemon is a notification daemon that a Desktop may run. Each is a real one,
// and each shows and closes notifications in its own way.
type Daemon struct {
	// Name is what its package is called.
	Name string
	path string
	args []string
	// class is that of its window, where the window does not tell whose it is.
	class string
	// right and bottom are how far the middle of the only button is from the
	// window's lower right corner; both 0 where there is none to see, and the
	// middle mouse button does it.
	right, bottom int
}

// Daemons are all that the tests know.
func Daemons() []Daemon {
	return []Daemon{
		dunst(),
		{Name: "xfce4-notifyd", path: anyArchitecture("/usr/lib/*/xfce4/notifyd/xfce4-notifyd"), right: 56, bottom: 31},
		{Name: "mate-notification-daemon", path: "/usr/lib/mate-notification-daemon/mate-notification-daemon", right: 65, bottom: 27},
		{Name: "notification-daemon", path: "/usr/lib/notification-daemon/notification-daemon", right: 81, bottom: 39},
	}
}

// anyArchitecture is the file of a pattern, or the pattern where there is none.
func anyArchitecture(pattern string) string {
	if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
		return found[0]
	}
	return pattern
}

func dunst() Daemon {
	return Daemon{Name: "dunst", path: "dunst", class: "Dunst", args: []string{"-config", os.DevNull, "-print"}}
}

// Area is a part of the screen.
type Area struct{ X, Y, Width, Height int }

// StartDaemon starts the notification daemon, again after StopDaemon.
func (d *Desktop) StartDaemon() {
	d.tb.Helper()
	log, err := os.OpenFile(d.notificationLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer log.Close()
	d.daemon = d.start(log, d.kind.path, d.kind.args...)
	Eventually(d.tb, d.kind.Name+" answers", d.hasDaemon)
}

// hasDaemon reports whether the daemon has the name that notifications are
// sent to.
func (d *Desktop) hasDaemon() bool {
	conn, err := dbus.Connect(d.BusAddress)
	if err != nil {
		return false
	}
	defer conn.Close()
	var there bool
	err = conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.Notifications").Store(&there)
	return err == nil && there
}

// StopDaemon kills the notification daemon.
func (d *Desktop) StopDaemon() { end(d.daemon) }

// LetBusStartDaemon makes the bus start the daemon when it is called and does
// not run, as buses do where a daemon is installed.
func (d *Desktop) LetBusStartDaemon() {
	d.tb.Helper()
	path, err := exec.LookPath(d.kind.path)
	if err != nil {
		d.tb.Fatal(err)
	}
	command := strings.Join(append([]string{"/usr/bin/env", "DISPLAY=" + d.Display, path}, d.kind.args...), " ")
	unit := "[D-BUS Service]\nName=org.freedesktop.Notifications\nExec=" + command + "\n"
	if err := os.WriteFile(filepath.Join(d.dir, "notifications.service"), []byte(unit), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	conn := Stranger(d.tb, d.BusAddress)
	if err := conn.BusObject().Call("org.freedesktop.DBus.ReloadConfig", 0).Err; err != nil {
		d.tb.Fatal(err)
	}
}

// Notifications returns where the daemon shows notifications. Dunst draws all
// of them in one window.
func (d *Desktop) Notifications() (shown []Area) {
	by := []string{"--pid", strconv.Itoa(d.daemon.Process.Pid)}
	if d.kind.class != "" {
		by = []string{"--class", d.kind.class}
	}
	ids, err := d.run("xdotool", append([]string{"search", "--onlyvisible"}, by...)...)
	if err != nil {
		return nil
	}
	for _, id := range strings.Fields(ids) {
		// Some have invisible windows that are mapped somewhere.
		if a := d.area("getwindowgeometry", "--shell", id); a.Width > 100 && a.Height > 20 {
			shown = append(shown, a)
		}
	}
	return shown
}

// Focused returns where the window is that gets the keys.
func (d *Desktop) Focused() Area { return d.area("getwindowfocus", "getwindowgeometry", "--shell") }

// area reads what xdotool prints for a shell; an area that is gone is zero.
func (d *Desktop) area(args ...string) (a Area) {
	out, err := d.run("xdotool", args...)
	if err != nil {
		return Area{}
	}
	fields := map[string]*int{"X": &a.X, "Y": &a.Y, "WIDTH": &a.Width, "HEIGHT": &a.Height}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if f := fields[name]; f != nil {
			*f, _ = strconv.Atoi(value)
		}
	}
	return a
}

// WaitShown waits until that many notifications are on the screen, and returns
// the first.
func (d *Desktop) WaitShown(count int) (first Area) {
	d.tb.Helper()
	Eventually(d.tb, strconv.Itoa(count)+" notifications are shown by "+d.kind.Name, func() bool {
		shown := d.Notifications()
		if len(shown) > 0 {
			first = shown[0]
		}
		return len(shown) == count
	})
	return first
}

// PressOpen clicks on the button of the only notification, as a person would.
func (d *Desktop) PressOpen() {
	d.tb.Helper()
	d.WaitShown(1)
	wait(meant) // it may move while it appears
	a := d.WaitShown(1)
	if d.kind.right == 0 {
		d.press(a.X+a.Width/2, a.Y+a.Height/2, 2)
		return
	}
	d.press(a.X+a.Width-d.kind.right, a.Y+a.Height-d.kind.bottom, 1)
}

// PressBody clicks on the text of the only notification.
func (d *Desktop) PressBody() {
	d.tb.Helper()
	wait(meant)
	a := d.WaitShown(1)
	d.press(a.X+a.Width/2, a.Y+a.Height/3, 1)
}

func (d *Desktop) press(x, y, button int) {
	d.tb.Helper()
	d.xdo("mousemove", strconv.Itoa(x), strconv.Itoa(y))
	d.xdo("click", strconv.Itoa(button))
	// Some keep a notification for as long as the pointer is over it.
	d.xdo("mousemove", "5", "600")
}

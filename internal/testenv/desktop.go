package testenv

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Desktop is a login session of its own: an X server without a screen, a
// session bus, and a notification daemon. Programs take part in it
// through Env. All of it ends with the test.
type Desktop struct {
	tb  testing.TB
	dir string
	// Display is the X display, e.g. ":7".
	Display string
	// BusAddress is the D-Bus address of the session bus.
	BusAddress string

	kind        Daemon
	bus, daemon *exec.Cmd
}

// StartDesktop starts a Desktop with dunst, the daemon that tells tests most.
func StartDesktop(tb testing.TB) *Desktop {
	tb.Helper()
	return StartDesktopWith(tb, dunst())
}

// StartDesktopWith starts a Desktop with one of the Daemons.
func StartDesktopWith(tb testing.TB, kind Daemon) *Desktop {
	tb.Helper()
	Need(tb, "Xvfb", "dbus-daemon", "dunst", "xdotool", "pinentry-gtk-2")
	Need(tb, kind.path)
	dir := tempDir(tb)
	d := &Desktop{tb: tb, dir: dir, kind: kind, BusAddress: "unix:path=" + filepath.Join(dir, "bus")}
	d.startX()
	d.StartBus()
	d.StartDaemon()
	return d
}

// Env is the environment of a program in this session: the test's own with
// what names the desktop replaced. Home, configuration and runtime directories
// are the desktop's too.
func (d *Desktop) Env() []string {
	own := d.Vars()
	env := []string{}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := own[name]; !ok && name != "WAYLAND_DISPLAY" {
			env = append(env, kv)
		}
	}
	for name, value := range own {
		env = append(env, name+"="+value)
	}
	return env
}

// Vars is what Env sets, for tests that set it themselves.
func (d *Desktop) Vars() map[string]string {
	return map[string]string{
		"DISPLAY":                  d.Display,
		"DBUS_SESSION_BUS_ADDRESS": d.BusAddress,
		"DBUS_SYSTEM_BUS_ADDRESS":  "unix:path=" + filepath.Join(d.dir, "system-bus"),
		"HOME":                     d.dir,
		"XDG_RUNTIME_DIR":          d.dir,
		"XDG_CONFIG_HOME":          filepath.Join(d.dir, "config"),
		"XDG_CACHE_HOME":           filepath.Join(d.dir, "cache"),
		"XDG_DATA_HOME":            filepath.Join(d.dir, "data"),
	}
}

func (d *Desktop) startX() {
	d.tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		d.tb.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-fbdir", d.dir, "-screen", "0", "1000x700x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { end(cmd) })
	// It writes the number once it answers.
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		d.tb.Fatalf("Xvfb did not start: %v", err)
	}
	d.Display = ":" + strings.TrimSpace(number)
}

// busConfig lets every program of the session do as it likes, as session buses
// do.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>%s</listen>
  <servicedir>%s</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
`

// StartBus starts the session bus, again after StopBus, at the same address.
func (d *Desktop) StartBus() {
	d.tb.Helper()
	config := filepath.Join(d.dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, d.BusAddress, d.dir), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	d.bus = d.start(nil, "dbus-daemon", "--nofork", "--config-file="+config)
	awaitBus(d.tb, filepath.Join(d.dir, "bus"))
}

// LetOthersIn lets other users connect to the session bus, as a careless
// administrator might, and returns its path.
func (d *Desktop) LetOthersIn() (socket string) {
	d.tb.Helper()
	if err := os.Chmod(d.dir, 0o711); err != nil {
		d.tb.Fatal(err)
	}
	return filepath.Join(d.dir, "bus")
}

// StopBus kills the session bus.
func (d *Desktop) StopBus() {
	end(d.bus)
	_ = os.Remove(filepath.Join(d.dir, "bus"))
}

func (d *Desktop) notificationLog() string { return filepath.Join(d.dir, "notifications") }

// NotificationLog returns all that dunst was told to show so far, in its own
// format.
func (d *Desktop) NotificationLog() string {
	text, err := os.ReadFile(d.notificationLog())
	if err != nil {
		d.tb.Fatal(err)
	}
	return string(text)
}

// start starts a program in the session and ends it with the test.
func (d *Desktop) start(out io.Writer, name string, args ...string) *exec.Cmd {
	d.tb.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout = out
	cmd.Env = d.Env()
	if err := cmd.Start(); err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { end(cmd) })
	return cmd
}

// end kills a program by its own process id; a second time does nothing.
func end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// run runs a program in the session and returns its output, trimmed.
func (d *Desktop) run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = d.Env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

package testenv

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"
)

// Names of AT-SPI, the accessibility bus that screen readers listen on.
const (
	atspiLauncher   = "/usr/libexec/at-spi-bus-launcher"
	atspiRegistry   = "org.a11y.atspi.Registry"
	atspiRoot       = "/org/a11y/atspi/accessible/root"
	atspiAccessible = "org.a11y.atspi.Accessible"
	// stateFocused is the bit of the state set, of atspi-constants.h.
	stateFocused = 1 << 12
)

// Node is one thing on the screen as a screen reader is told of it.
type Node struct {
	// Role is what kind of thing it is, e.g. "push button" or "label".
	Role, Name, Description string
	Focused                 bool
	Children                []Node
}

// Find returns every node below, itself included, that match accepts.
func (n Node) Find(match func(Node) bool) []Node {
	var found []Node
	if match(n) {
		found = append(found, n)
	}
	for _, c := range n.Children {
		found = append(found, c.Find(match)...)
	}
	return found
}

// String is the tree, one node to a line.
func (n Node) String() string {
	line := n.Role + " " + quoted(n.Name)
	if n.Focused {
		line += " FOCUSED"
	}
	for _, c := range n.Children {
		line += "\n  " + strings.ReplaceAll(c.String(), "\n", "\n  ")
	}
	return line
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }

// ScreenReader reads what the programs of a Desktop tell people who do not see
// them.
type ScreenReader struct {
	d    *Desktop
	conn *dbus.Conn
}

// AccessibleVars is what the environment of a program takes to be told of to
// screen readers.
func AccessibleVars() map[string]string {
	return map[string]string{"GTK_MODULES": "gail:atk-bridge", "QT_ACCESSIBILITY": "1", "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1"}
}

// StartScreenReader starts the accessibility bus of the desktop, which ends with
// the test, and switches accessibility on as a screen reader does.
func (d *Desktop) StartScreenReader() *ScreenReader {
	d.tb.Helper()
	Need(d.tb, "/usr/libexec/at-spi-bus-launcher", "/etc/environment.d/90atk-adaptor.conf")
	cmd := exec.Command(atspiLauncher, "--launch-immediately")
	cmd.Env = d.Env()
	if err := cmd.Start(); err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { // politely: it ends the bus that it started
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	session := d.connect(d.BusAddress)
	bus := session.Object("org.a11y.Bus", "/org/a11y/bus")
	var address string
	Eventually(d.tb, "the accessibility bus has an address", func() bool {
		return bus.Call("org.a11y.Bus.GetAddress", 0).Store(&address) == nil && address != ""
	})
	if err := bus.SetProperty("org.a11y.Status.IsEnabled", dbus.MakeVariant(true)); err != nil {
		d.tb.Fatal(err)
	}
	return &ScreenReader{d: d, conn: d.connect(address)}
}

// connect opens a connection to a bus that is closed with the test.
func (d *Desktop) connect(address string) *dbus.Conn {
	d.tb.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// reference names an accessible object on the bus.
type reference struct {
	Name string
	Path dbus.ObjectPath
}

// Window waits for a window whose title holds a text, and returns all that a
// screen reader knows of it. A tree without focus is still being made.
func (r *ScreenReader) Window(title string) Node {
	r.d.tb.Helper()
	var window Node
	Eventually(r.d.tb, "screen readers are told of "+title, func() bool {
		desktop := r.read(reference{atspiRegistry, atspiRoot})
		for _, app := range desktop.Children {
			i := slices.IndexFunc(app.Children, func(n Node) bool { return strings.Contains(n.Name, title) })
			if i >= 0 && len(app.Children[i].Find(func(n Node) bool { return n.Focused })) > 0 {
				window = app.Children[i]
				return true
			}
		}
		return false
	})
	return window
}

// read reads a node with what is below it; what goes away meanwhile is left
// out.
func (r *ScreenReader) read(ref reference) Node {
	o := r.conn.Object(ref.Name, ref.Path)
	var n Node
	n.Name, n.Description = property(o, "Name"), property(o, "Description")
	_ = o.Call(atspiAccessible+".GetRoleName", 0).Store(&n.Role)
	var states []uint32
	if o.Call(atspiAccessible+".GetState", 0).Store(&states) == nil && len(states) > 0 {
		n.Focused = states[0]&stateFocused != 0
	}
	var children []reference
	_ = o.Call(atspiAccessible+".GetChildren", 0).Store(&children)
	for _, c := range children {
		if c.Path != "/org/a11y/atspi/null" {
			n.Children = append(n.Children, r.read(c))
		}
	}
	return n
}

func property(o dbus.BusObject, name string) string {
	v, err := o.GetProperty(atspiAccessible + "." + name)
	if err != nil {
		return ""
	}
	s, _ := v.Value().(string)
	return s
}

// WithVars writes a program that runs another one with more in its environment,
// and returns its path.
func (d *Desktop) WithVars(program string, vars map[string]string) string {
	d.tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		d.tb.Fatal(err)
	}
	script := "#!/bin/sh\nexec env"
	for name, value := range vars {
		script += " '" + name + "=" + value + "'"
	}
	name := filepath.Join(d.dir, "accessible-"+filepath.Base(program))
	if err := WriteProgram(name, []byte(script+" '"+path+"' \"$@\"\n"), 0o700); err != nil {
		d.tb.Fatal(err)
	}
	return name
}

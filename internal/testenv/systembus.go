package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// The people of a System. Nothing outside of it knows them.
const (
	// ServiceUser is the user that countersignd runs as.
	ServiceUser = "countersign"
	ServiceUID  = 47110
	// Person is somebody with a password.
	Person         = "alice"
	PersonUID      = 47111
	PersonPassword = "s3cret horse"
)

// System is the part of a computer that verifies people: a system bus with the
// distribution's own policy, polkit and fprintd. All of it lives in a mount
// namespace with users, polkit rules and actions of its own, so that nothing of
// the machine's is read or changed. It ends with the test.
type System struct {
	tb  testing.TB
	dir string
	// anchor holds the mount namespace, bus is the bus.
	anchor, bus, polkit, fprintd *exec.Cmd
}

// systemBusConfig is Debian's system.conf without what starts daemons: here the
// test does.
const systemBusConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
</busconfig>
`

// mounts makes the namespace: $1 is a directory with what goes where.
const mounts = `set -e
mkdir -p /run/dbus
mount --bind "$1/bus" /run/dbus
for f in passwd shadow group; do mount --bind "$1/$f" /etc/$f; done
mkdir -p /etc/polkit-1/rules.d
mount --bind "$1/local-rules" /etc/polkit-1/rules.d
mount --bind "$1/rules" /usr/share/polkit-1/rules.d
mount --bind "$1/actions" /usr/share/polkit-1/actions
echo ready
exec sleep infinity
`

// StartSystem starts a System with its bus and polkit. Installer is the
// directory with our policy and rules for polkit.
func StartSystem(tb testing.TB, installer string) *System {
	tb.Helper()
	Need(tb, "dbus-daemon", "setpriv", "openssl", "/usr/lib/polkit-1/polkitd")
	NeedMounts(tb)
	s := &System{tb: tb, dir: tempDir(tb)}
	s.furnish(installer)
	s.enter()
	s.StartBus()
	s.StartPolkit()
	return s
}

// Address is where the bus listens.
func (s *System) Address() string {
	return "unix:path=" + filepath.Join(s.dir, "bus", "system_bus_socket")
}

// furnish writes what the namespace shows.
func (s *System) furnish(installer string) {
	s.tb.Helper()
	for _, dir := range []string{"", "bus", "local-rules", "rules", "actions"} {
		s.must(os.MkdirAll(filepath.Join(s.dir, dir), 0o755))
		s.must(os.Chmod(filepath.Join(s.dir, dir), 0o755))
	}
	hash, err := exec.Command("openssl", "passwd", "-6", PersonPassword).Output()
	s.must(err)
	s.account("passwd", fmt.Sprintf("%s:x:%d:%d::/:/usr/sbin/nologin\n%s:x:%d:%d::/:/bin/sh\n", ServiceUser, ServiceUID, ServiceUID, Person, PersonUID, PersonUID))
	s.account("group", fmt.Sprintf("%s:x:%d:\n%s:x:%d:\n", ServiceUser, ServiceUID, Person, PersonUID))
	s.account("shadow", fmt.Sprintf("%s:!:19000::::::\n%s:%s:19000:0:99999:7:::\n", ServiceUser, Person, strings.TrimSpace(string(hash))))
	s.write("bus.conf", systemBusConfig)
	actions, err := filepath.Glob("/usr/share/polkit-1/actions/*.policy")
	s.must(err)
	for _, from := range append(actions, filepath.Join(installer, "io.countersign.policy")) {
		s.copyTo("actions", from)
	}
	s.copyTo("rules", filepath.Join(installer, "50-countersign.rules"))
}

// account is a file of the machine's with more people in it.
func (s *System) account(name, more string) {
	s.tb.Helper()
	data, err := os.ReadFile(filepath.Join("/etc", name))
	s.must(err)
	s.write(name, string(data)+more)
	if name == "shadow" {
		s.must(os.Chmod(filepath.Join(s.dir, name), 0o600))
	}
}

func (s *System) copyTo(dir, from string) {
	s.tb.Helper()
	data, err := os.ReadFile(from)
	s.must(err)
	s.write(filepath.Join(dir, filepath.Base(from)), string(data))
}

func (s *System) write(name, text string) {
	s.tb.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644))
}

func (s *System) must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}

// enter makes the namespace.
func (s *System) enter() {
	s.tb.Helper()
	s.anchor = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", mounts, "sh", s.dir)
	out, err := s.anchor.StdoutPipe()
	s.must(err)
	var said strings.Builder
	s.anchor.Stderr = &said
	s.must(s.anchor.Start())
	s.tb.Cleanup(func() { end(s.anchor) })
	ready := make([]byte, len("ready"))
	if n, err := out.Read(ready); err != nil || string(ready[:n]) != "ready" {
		end(s.anchor) // so that all of what it said has come
		s.tb.Fatalf("the mount namespace is not made: %v: %s", err, said.String())
	}
}

// Command is a program in the namespace, as a user.
func (s *System) Command(uid int, name string, args ...string) *exec.Cmd {
	id := strconv.Itoa(uid)
	line := []string{"--target", strconv.Itoa(s.anchor.Process.Pid), "--mount", "--", "setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--", name}
	cmd := exec.Command("nsenter", append(line, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket", "LANG=C.UTF-8"}
	return cmd
}

// start starts a daemon in the namespace, as root, and ends it with the test.
func (s *System) start(env []string, name string, args ...string) *exec.Cmd {
	s.tb.Helper()
	cmd := s.Command(0, name, args...)
	cmd.Env = append(cmd.Env, env...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	s.must(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	s.must(cmd.Start())
	s.tb.Cleanup(func() { end(cmd) })
	return cmd
}

// StartBus starts the bus, again after StopBus. Its daemons are away then.
func (s *System) StartBus() {
	s.tb.Helper()
	s.bus = s.start(nil, "dbus-daemon", "--nofork", "--nopidfile", "--config-file="+filepath.Join(s.dir, "bus.conf"))
	Eventually(s.tb, "the system bus answers", func() bool {
		conn, err := dbus.Connect(s.Address())
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// StopBus kills the bus.
func (s *System) StopBus() { end(s.bus) }

// StartPolkit starts polkit, again after StopPolkit.
func (s *System) StartPolkit() {
	s.tb.Helper()
	s.polkit = s.start(nil, "/usr/lib/polkit-1/polkitd", "--no-debug")
	s.WaitName("org.freedesktop.PolicyKit1")
}

// StopPolkit kills polkit.
func (s *System) StopPolkit() { end(s.polkit) }

// Rule gives polkit another rule of the administrator's, and starts it anew.
func (s *System) Rule(name, text string) {
	s.tb.Helper()
	s.write(filepath.Join("local-rules", name), text)
	s.StopPolkit()
	s.StartPolkit()
}

// RemoveAction takes an action away from polkit, and starts it anew.
func (s *System) RemoveAction(file string) {
	s.tb.Helper()
	s.must(os.Remove(filepath.Join(s.dir, "actions", file)))
	s.StopPolkit()
	s.StartPolkit()
}

// Bus connects to the bus until the test ends, as root.
func (s *System) Bus() *dbus.Conn {
	s.tb.Helper()
	conn, err := dbus.Connect(s.Address())
	s.must(err)
	s.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// WaitName waits until a name on the bus has an owner.
func (s *System) WaitName(name string) {
	s.tb.Helper()
	conn, err := dbus.Connect(s.Address())
	s.must(err)
	defer conn.Close()
	Eventually(s.tb, name+" is there", func() bool {
		var owned bool
		return conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&owned) == nil && owned
	})
}

// Log is what the daemons said.
func (s *System) Log() string {
	data, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(data)
}

// Process starts a process of a user's that does nothing, until the test ends.
func (s *System) Process(uid int) *os.Process {
	s.tb.Helper()
	cmd := s.Command(uid, "sleep", "infinity")
	s.must(cmd.Start())
	s.tb.Cleanup(func() { end(cmd) })
	Eventually(s.tb, "the process runs", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		return err == nil && string(name) == "sleep\n"
	})
	return cmd.Process
}

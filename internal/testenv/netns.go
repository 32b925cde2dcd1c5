package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// NetNS is a network of its own, that nothing but a test's links lead into or out of.
type NetNS struct {
	tb    testing.TB
	name  string
	hosts string
}

// networks counts those of this process, to name them.
var networks atomic.Int64

// NewNetNS makes a network that has loopback alone. It takes root.
func NewNetNS(tb testing.TB) *NetNS {
	tb.Helper()
	Need(tb, "ip", "nsenter", "unshare", "mount")
	if os.Geteuid() != 0 {
		tb.Skip("this test makes networks, which takes root")
	}
	n := &NetNS{tb: tb, name: fmt.Sprintf("cs%d-%d", os.Getpid(), networks.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("no network can be made: %s", out)
		}
		tb.Skipf("no network can be made: %s", out)
	}
	tb.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.name).Run() })
	n.IP("link", "set", "lo", "up")
	return n
}

// IP runs ip(8) in the network.
func (n *NetNS) IP(args ...string) {
	n.tb.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", n.name}, args...)...).CombinedOutput(); err != nil {
		n.tb.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Sysctl writes a setting of the network's, named by its path below /proc/sys.
func (n *NetNS) Sysctl(path, value string) {
	n.tb.Helper()
	var err error
	n.Do(func() { err = os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644) })
	if err != nil {
		n.tb.Fatal(err)
	}
}

// Connect joins two networks by a cable, with a name for its end in each.
func (n *NetNS) Connect(end string, other *NetNS, otherEnd string) {
	n.tb.Helper()
	n.IP("link", "add", end, "type", "veth", "peer", "name", otherEnd, "netns", other.name)
	n.IP("link", "set", end, "up")
	other.IP("link", "set", otherEnd, "up")
}

// Address gives an end its addresses, ready at once.
func (n *NetNS) Address(end string, addresses ...string) {
	n.tb.Helper()
	for _, a := range addresses {
		args := []string{"address", "add", a, "dev", end}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		n.IP(args...)
	}
}

// Hosts has commands in the network know names: lines of hosts(5).
func (n *NetNS) Hosts(lines ...string) {
	n.tb.Helper()
	n.hosts = filepath.Join(n.tb.TempDir(), "hosts")
	if err := os.WriteFile(n.hosts, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		n.tb.Fatal(err)
	}
}

// Rename changes what commands know that run already.
func (n *NetNS) Rename(lines ...string) {
	n.tb.Helper()
	if err := os.WriteFile(n.hosts, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		n.tb.Fatal(err)
	}
}

// Inside is a command as it runs in the network. It is the process itself, not one
// below it.
func (n *NetNS) Inside(cmd *exec.Cmd) *exec.Cmd {
	args := []string{"nsenter", "--net=" + n.path(), "--"}
	if n.hosts != "" {
		args = append(args, "unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, n.hosts)
	}
	inside := exec.Command(args[0], append(append(args[1:], cmd.Path), cmd.Args[1:]...)...)
	inside.Env, inside.Stdin, inside.Stdout, inside.Stderr, inside.SysProcAttr = cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr
	return inside
}

func (n *NetNS) path() string { return "/run/netns/" + n.name }

// Do runs f in the network. What f starts in other goroutines is not there; sockets
// that it makes stay.
func (n *NetNS) Do(f func()) {
	n.tb.Helper()
	failed := make(chan error, 1)
	go func() { failed <- n.visit(f) }()
	if err := <-failed; err != nil {
		n.tb.Fatal(err)
	}
}

// visit takes the thread into the network and back. A thread that ended instead would
// take the processes with it that it has started and that are to die with their parent.
func (n *NetNS) visit(f func()) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(home) }()
	there, err := unix.Open(n.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(there) }()
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return err
	}
	f()
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		return err // the thread ends with the goroutine, which is still locked to it
	}
	runtime.UnlockOSThread()
	return nil
}

// Dial connects to an address from within the network.
func (n *NetNS) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	n.Do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
	return conn, err
}

// Listen listens on an address within the network, until the test ends.
func (n *NetNS) Listen(address string) net.Listener {
	n.tb.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", address) })
	if err != nil {
		n.tb.Fatal(err)
	}
	n.tb.Cleanup(func() { _ = l.Close() })
	return l
}

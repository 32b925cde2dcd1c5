package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Bus is a message bus of its own that every user may connect to, as a system
// bus is. It ends with the test.
type Bus struct {
	tb     testing.TB
	config string
	socket string
	daemon *exec.Cmd
	// Address is its D-Bus address.
	Address string
}

// StartBus starts a Bus.
func StartBus(tb testing.TB) *Bus {
	tb.Helper()
	Need(tb, "dbus-daemon")
	dir := tempDir(tb)
	// Every user is to reach the socket.
	if err := os.Chmod(dir, 0o711); err != nil {
		tb.Fatal(err)
	}
	b := &Bus{tb: tb, config: filepath.Join(dir, "bus.conf"), socket: filepath.Join(dir, "bus")}
	b.Address = "unix:path=" + b.socket
	if err := os.WriteFile(b.config, fmt.Appendf(nil, busConfig, b.Address, dir), 0o600); err != nil {
		tb.Fatal(err)
	}
	b.Start()
	return b
}

// Start starts it again after Stop, at the same address.
func (b *Bus) Start() {
	b.tb.Helper()
	cmd := exec.Command("dbus-daemon", "--nofork", "--config-file="+b.config)
	if err := cmd.Start(); err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() { end(cmd) })
	b.daemon = cmd
	awaitBus(b.tb, b.socket)
}

func awaitBus(tb testing.TB, socket string) {
	tb.Helper()
	Eventually(tb, "dbus-daemon listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// Stop kills the bus.
func (b *Bus) Stop() {
	end(b.daemon)
	_ = os.Remove(b.socket)
}

// Stranger is a connection to the bus of another program of the same user.
func Stranger(tb testing.TB, address string) *dbus.Conn {
	tb.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

// nobody is a user that no bus and no service here belongs to.
const nobody = 65534

// StrangerOfAnotherUser is the same of another user, which takes root to make.
func StrangerOfAnotherUser(tb testing.TB, socket string) *dbus.Conn {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("only root can be another user")
	}
	stream, err := connectAs(nobody, socket)
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := dbus.NewConn(stream)
	if err == nil {
		err = conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(nobody))})
	}
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

// Socket is the path of the bus.
func (b *Bus) Socket() string { return b.socket }

// connectAs connects with the user id that the kernel shall tell the other side.
// It changes that of one thread alone, and only for the call.
func connectAs(uid int, socket string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), socket)
	defer file.Close()
	same := ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return nil, errno
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same); errno != 0 {
		return nil, errno
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

package testenv

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// DialAs connects to a unix socket as a user, who is recorded by the kernel as
// the caller for as long as the connection lives. Only root can be another user
// than the test's own.
func DialAs(path string, uid int) (net.Conn, error) {
	if uid == os.Getuid() {
		return net.Dial("unix", path)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := dialHere(path, uid)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	f := os.NewFile(uintptr(r.fd), path)
	defer f.Close()
	return net.FileConn(f)
}

// dialHere makes the calling thread the user's, for good, and connects.
func dialHere(path string, uid int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	// The raw call: what the runtime offers changes every thread.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return 0, errno
	}
	return fd, unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

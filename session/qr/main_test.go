package qr_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"countersign/session/qr"
)

// TestMain is also the confined process: this program starts itself, as
// countersign does.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == qr.Subcommand:
		if err := qr.Serve(os.Stdin, os.Stdout); err != nil {
			syscall.Exit(1)
		}
		syscall.Exit(0) // at once, where the race detector would wait a second
	case len(os.Args) == 3 && os.Args[1] == "escape":
		syscall.Exit(escape(os.Args[2]))
	}
	os.Exit(m.Run())
}

// escape tries one thing, first free and then confined, and returns 0 if only
// the confinement kept it from happening.
func escape(name string) int {
	dir, err := os.MkdirTemp("", "qr")
	if err != nil {
		return 10
	}
	listener, err := net.Listen("unix", dir+"/sock")
	if err != nil {
		return 11
	}
	try := attempts(dir, listener.Addr().String())[name]
	if err := try(); err != nil {
		fmt.Fprintln(os.Stderr, "free:", err)
		return 12
	}
	if err := qr.Confine(); err != nil {
		fmt.Fprintln(os.Stderr, "confine:", err)
		return 13
	}
	if err := try(); err == nil {
		return 14
	}
	return 0
}

// attempts are what somebody would try who has taken the process over.
func attempts(dir, socket string) map[string]func() error {
	return map[string]func() error{
		"read a file": func() error {
			_, err := os.ReadFile("/etc/passwd")
			return err
		},
		"write a file": func() error { return os.WriteFile(dir+"/new", []byte("x"), 0o600) },
		"list":         func() error { _, err := os.ReadDir("/"); return err },
		"reach the service": func() error {
			c, err := net.Dial("unix", socket)
			if err == nil {
				_ = c.Close()
			}
			return err
		},
		"open a socket": func() error {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
			if err == nil {
				_ = syscall.Close(fd)
			}
			return err
		},
		"start a program":  func() error { return exec.Command("/bin/true").Run() },
		"signal":           func() error { return syscall.Kill(os.Getppid(), 0) },
		"look at a parent": func() error { _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid())); return err },
	}
}

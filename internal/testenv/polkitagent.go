package testenv

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// PolkitAgent is pkttyagent, which asks the Person of a System for the password
// on a terminal.
type PolkitAgent struct {
	tb     testing.TB
	screen *Screen
	cmd    *exec.Cmd
}

// StartAgent has pkttyagent ask on behalf of one process of the Person's.
func (s *System) StartAgent(pid int, started uint64) *PolkitAgent {
	s.tb.Helper()
	Need(s.tb, "pkttyagent")
	screen, pts := OpenScreen(s.tb)
	s.must(os.Chown(pts.Name(), PersonUID, -1))
	ready, registered, err := os.Pipe()
	s.must(err)
	defer ready.Close()
	a := &PolkitAgent{tb: s.tb, screen: screen}
	a.cmd = s.Command(PersonUID, "pkttyagent", "--notify-fd", "3", "--process", fmt.Sprintf("%d,%d", pid, started))
	a.cmd.Stdin, a.cmd.Stdout, a.cmd.Stderr = pts, pts, pts
	a.cmd.ExtraFiles = []*os.File{registered}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.must(a.cmd.Start())
	_, _ = pts.Close(), registered.Close()
	s.tb.Cleanup(a.Stop)
	// It closes the descriptor once polkit knows it.
	_, _ = io.ReadAll(ready)
	return a
}

// Stop kills it.
func (a *PolkitAgent) Stop() { end(a.cmd) }

// Text is what it has shown so far.
func (a *PolkitAgent) Text() string { return a.screen.Text() }

// Asked waits until it has asked for the password for the nth time.
func (a *PolkitAgent) Asked(nth int) {
	a.tb.Helper()
	Eventually(a.tb, "the password to be asked for", func() bool { return strings.Count(a.Text(), "Password: ") >= nth })
}

// Answer types a password when it is asked for the nth time, and not before the
// terminal stopped echoing: what was typed earlier is thrown away.
func (a *PolkitAgent) Answer(nth int, password string) {
	a.tb.Helper()
	a.Asked(nth)
	raw, err := a.screen.ptmx.SyscallConn()
	if err != nil {
		a.tb.Fatal(err)
	}
	Eventually(a.tb, "the password not to be shown", func() (hidden bool) {
		_ = raw.Control(func(fd uintptr) {
			t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
			hidden = err == nil && t.Lflag&unix.ECHO == 0
		})
		return hidden
	})
	a.screen.Type(password + "\n")
}

// Started is when a process began, in clock ticks since the boot.
func Started(tb testing.TB, pid int) uint64 {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	ticks, err := strconv.ParseUint(strings.Fields(after)[22-3], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return ticks
}

package ipc_test

import (
	"net"
	"path/filepath"
	"testing"

	"countersign/ipc"
)

// TestWhichService: a user's own service comes first while it is there, and what one
// that is gone has left behind hides the system's from nobody.
func TestWhichService(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	own, system := filepath.Join(dir, "own"), filepath.Join(dir, "system")
	want := func(when, socket string) {
		t.Helper()
		if got := ipc.Choose(own, system); got != socket {
			t.Errorf("%s: %s", when, got)
		}
	}
	want("neither is there", system)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: own})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	want("the user's is", own)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want("the user's is down, and there is no other", own)
	s, err := net.Listen("unix", system)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want("the user's is gone", system)
}

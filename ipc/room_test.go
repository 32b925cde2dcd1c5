package ipc_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"countersign/ipc"
)

// TestConnectionsLeaveDescriptors: a connection takes two descriptors, itself and its
// process, and all that are admitted leave enough to work with.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
	for limit, most := range map[uint64]int{1024: 256, 4096: 1536, 8192: 3584} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		admit, n := ipc.NewCounter(), 0
		for uid := range uint32(4000) {
			for range ipc.MaxConns {
				if admit(uid) {
					n++
				}
			}
		}
		if n == 0 || n > most {
			t.Errorf("with %d descriptors %d connections are admitted", limit, n)
		}
	}
}

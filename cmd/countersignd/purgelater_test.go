package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"countersign/agent/settings"
)

// TestNoRoomToPrepareAPurge: on a full disk a removal leaves no half program there.
func TestNoRoomToPrepareAPurge(t *testing.T) {
	disk, state := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	if err := os.MkdirAll(filepath.Join(state, "profiles", "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(disk, "purge")
	if err := preparePurge(config{Loaded: settings.Loaded{Settings: settings.Settings{State: state}}}, to); err == nil {
		t.Fatal("a program of over a megabyte has found room in one")
	}
	if _, err := os.Stat(to); !os.IsNotExist(err) {
		t.Errorf("what is left: %v", err)
	}
}

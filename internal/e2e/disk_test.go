package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"countersign/internal/testenv"
)

// smallDisk has a program run with a file system of its own over a directory,
// which nobody else sees: a tmpfs of so many bytes. What is in the directory is
// not seen by the program.
func smallDisk(tb testing.TB, dir, size, program string, args ...string) *exec.Cmd {
	tb.Helper()
	testenv.NeedMounts(tb)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	const script = `mount -t tmpfs -o mode=0700,size="$1" tmpfs "$2" && shift 2 && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", script, "sh", size, dir, program}, args...)...)
}

// disk is the directory of a program as the program sees it.
type disk struct {
	tb  testing.TB
	pid int
	dir string
}

func (d disk) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(d.pid), "root", d.dir, name)
}

// seenBy has a command see the disk.
func (d disk) seenBy(cmd *exec.Cmd) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(d.pid), "--mount"}, cmd.Args...)...)
}

const filler = "filler"

// fill leaves no room on it.
func (d disk) fill() {
	d.tb.Helper()
	f, err := os.Create(d.path(filler))
	if err != nil {
		d.tb.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.tb.Fatalf("filling the disk: %v", err)
	}
}

func (d disk) makeRoom() {
	d.tb.Helper()
	if err := os.Remove(d.path(filler)); err != nil {
		d.tb.Fatal(err)
	}
}

// protect makes the directory read-only for whatever is opened from now on.
func (d disk) protect() {
	d.tb.Helper()
	d.mount(`mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"`)
}

func (d disk) unprotect() {
	d.tb.Helper()
	d.mount(`umount --lazy "$1"`)
}

func (d disk) mount(script string) {
	d.tb.Helper()
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(d.pid), "--mount", "sh", "-ec", script, "sh", d.dir).CombinedOutput()
	if err != nil {
		d.tb.Fatalf("%s: %v: %s", script, err, out)
	}
}

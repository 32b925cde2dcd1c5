package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// NeedMounts skips a test, and says so, where a program cannot be given file
// systems of its own: that takes root and a mount namespace.
func NeedMounts(tb testing.TB) {
	tb.Helper()
	Need(tb, "unshare", "nsenter", "mount")
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput()
	if err != nil || os.Getuid() != 0 {
		tb.Skipf("this test needs root and a mount namespace: %s", out)
	}
}

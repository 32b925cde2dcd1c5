// Package testenv starts the real parts a test needs: a TPM, a smart card
// daemon, a message bus. Each part lives in directories of its own, belongs to
// the test that started it and ends with that test. Nothing here is ever linked
// into a shipped command.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Need skips the test, visibly, when a tool is missing from PATH, or a file
// where an absolute path is given. With CI set in the environment a missing tool
// is a failure, so that no pipeline stays green by testing nothing.
func Need(tb testing.TB, tools ...string) {
	tb.Helper()
	for _, tool := range tools {
		if have(tool) {
			continue
		}
		if os.Getenv("CI") != "" {
			tb.Fatalf("this test needs %s, which is not there", tool)
		}
		tb.Skipf("this test needs %s, which is not there", tool)
	}
}

// have looks for a file by its path, be it a program or a library, and for a
// program by its name.
func have(tool string) bool {
	if filepath.IsAbs(tool) {
		_, err := os.Stat(tool)
		return err == nil
	}
	_, err := exec.LookPath(tool)
	return err == nil
}

// Eventually fails the test unless cond becomes true within ten seconds. What
// names the awaited condition in the failure.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("still waiting after 10 s: %s", what)
		}
	}
}

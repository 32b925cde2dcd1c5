package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// crashDir is the environment variable that names the directory of a child which is
// to be killed.
const crashDir = "COUNTERSIGN_CRASH_DIR"

// RunOrLive runs a package's tests and returns the exit status. In a child that
// KillAtEach started it lives on the child's directory instead, until it is killed.
func RunOrLive(m *testing.M, live func(dir string) error) int {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return m.Run()
	}
	// All file operations come from one thread, which is the one counted.
	runtime.LockOSThread()
	if err := live(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// KillAtEach kills a child that lives, by RunOrLive, before each system call of each
// kind, and has after look at the directory: said is what the child had printed. The
// map says how many calls of a kind there are at least.
func KillAtEach(t *testing.T, calls map[string]int, after func(t *testing.T, when, dir string, said map[string]int)) {
	t.Helper()
	Need(t, "strace")
	// strace counts the calls of each kind apart.
	for call, least := range calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			n := 1
			for killed := true; killed; n++ {
				dir := filepath.Join(t.TempDir(), "dir")
				var said map[string]int
				said, killed = runKilled(t, dir, call, n)
				after(t, fmt.Sprintf("killed before %s %d, after %v", call, n, said), dir, said)
			}
			t.Logf("killed before each of %d", n-2)
			if n-2 < least {
				t.Errorf("only %d were seen: the tracer misses some", n-2)
			}
		})
	}
}

// runKilled runs the test's own binary as a child that lives on a directory and is
// killed before its nth system call of a kind. It returns how often the child printed
// each word, and whether it was killed.
func runKilled(tb testing.TB, dir, call string, n int) (said map[string]int, killed bool) {
	tb.Helper()
	cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	said = map[string]int{}
	for _, word := range strings.Fields(out.String()) {
		said[word]++
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return said, false
	case failed && !exit.Exited(): // strace dies of the signal its child died of
		return said, true
	}
	tb.Fatalf("strace: %v: %s", err, errs.String())
	return nil, false
}

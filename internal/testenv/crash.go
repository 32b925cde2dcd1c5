package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// RunOrLive runs a package's tests and returns the exit status. In a child of theirs,
// which has a directory in the environment variable env, it lives on that instead,
// until the child is killed.
func RunOrLive(m *testing.M, env string, live func(dir string) error) int {
	dir := os.Getenv(env)
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
func KillAtEach(t *testing.T, env string, calls map[string]int, after func(t *testing.T, when, dir string, said map[string]int)) {
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
				said, killed = RunKilled(t, env+"="+dir, call, n)
				after(t, fmt.Sprintf("killed before %s %d, after %v", call, n, said), dir, said)
			}
			t.Logf("killed before each of %d", n-2)
			if n-2 < least {
				t.Errorf("only %d were seen: the tracer misses some", n-2)
			}
		})
	}
}

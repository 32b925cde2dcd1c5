package audit_test

import (
	"fmt"
	"os"
	"testing"

	"countersign/agent/audit"
	"countersign/internal/testenv"
)

// crashDir names the directory that a child of the tests works on until it is
// killed.
const crashDir = "COUNTERSIGN_CRASH_DIR"

func TestMain(m *testing.M) { os.Exit(testenv.RunOrLive(m, crashDir, live)) }

// live is a short life of a log that is opened twice. What is printed has returned.
func live(dir string) error {
	for range 2 {
		l, err := audit.Open(dir, clock())
		if err != nil {
			return err
		}
		for n := range 2 {
			if err := l.Append(event(n)); err != nil {
				return err
			}
			fmt.Println("appended")
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestCrashAtEachFileOperation kills a process before each operation on files
// that it does, in turn: the next start finds a log that verifies before anything
// is added to it, has what was said to be durable, and raises no alarm.
func TestCrashAtEachFileOperation(t *testing.T) {
	t.Parallel()
	testenv.KillAtEach(t, crashDir, map[string]int{"mkdirat": 1, "openat": 6, "pwrite64": 10, "fsync": 8}, afterCrash)
}

func afterCrash(t *testing.T, when, dir string, said map[string]int) {
	t.Helper()
	l := open(t, dir)
	if r := verify(t, l); !r.OK {
		t.Errorf("%s: report %+v", when, r)
	}
	if got := records(t, l); len(got) < 1+said["appended"] || got[0].Kind != audit.KindBegan {
		t.Errorf("%s: the records are %+v", when, got)
	}
}

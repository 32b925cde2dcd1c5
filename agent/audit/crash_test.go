package audit_test

import (
	"testing"

	"countersign/agent/audit"
	"countersign/internal/testenv"
)

// TestCrashAtEachFileOperation kills a process before each operation on files
// that it does, in turn: the next start finds a log that verifies before anything
// is added to it, has what was said to be durable, and raises no alarm.
func TestCrashAtEachFileOperation(t *testing.T) {
	t.Parallel()
	testenv.KillAtEach(t, map[string]int{"mkdirat": 1, "openat": 6, "pwrite64": 10, "fsync": 8}, afterCrash)
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

package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// TestCrashAtEachFileOperation kills a process before each operation on files
// that it does, in turn, and looks at what the next start finds.
func TestCrashAtEachFileOperation(t *testing.T) {
	t.Parallel()
	testenv.KillAtEach(t, map[string]int{"mkdirat": 6, "openat": 30, "write": 15, "fsync": 25, "renameat": 12, "unlinkat": 5}, afterCrash)
}

// afterCrash demands that what was said to be done is done, and that nothing
// is there by halves.
func afterCrash(t *testing.T, when, root string, said map[string]int) {
	t.Helper()
	d := open(t, root)
	defer d.Close()
	enrollments, err := d.Enrollments()
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	profiles, err := d.Profiles()
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	reserved, err := d.Reservations()
	if err != nil || said["reserved"] > 0 && said["begun"] == 0 && len(reserved) != 1 || said["settled"] > 0 && len(reserved) != 0 {
		t.Errorf("%s: %d reservations, %v", when, len(reserved), err)
	}
	first := 0
	for _, e := range enrollments {
		if string(e.Keys.Device) != e.Start.Token+" device" || string(e.Keys.Approval) != e.Start.Token+" approval" {
			t.Errorf("%s: an enrollment without its keys: %+v", when, e)
		}
		if e.Start.Token == "first" {
			first++
			if said["saved"] > 0 && e.ID == "" {
				t.Errorf("%s: the enrollment lost its id", when)
			}
		}
		if said["abandoned"] > 0 || said["completed"] > 0 && e.Start.Token == "first" {
			t.Errorf("%s: the enrollment %s is back", when, e.Start.Token)
		}
	}
	for _, p := range profiles {
		first++
		if string(p.Keys.Device) != "first device" || p.User != "alice" {
			t.Errorf("%s: a profile by halves: %+v", when, p)
		}
		if seq := int(p.TrustSeq()); seq < said["trusted"] || p.Issuer != issuers()[seq] || seq > 0 && string(p.JWKS) == "{}" {
			t.Errorf("%s: statement %d of a server %s", when, seq, p.Issuer)
		}
		entries, err := d.Entries(p.ID)
		last := 0
		for _, e := range entries {
			last = int(e.Seq)
		}
		if err != nil || last < said["entry"] || said["removed"] > 0 && len(entries) != 1 {
			t.Errorf("%s: %d entries, the last is %d, %v", when, len(entries), last, err)
		}
	}
	// While the profile is being removed it may be there or not.
	if first > 1 || said["begun"] > 0 && said["abandoned"] == 0 && first == 0 || said["left"] > 0 && first > 0 {
		t.Errorf("%s: the enrollment is there %d times", when, first)
	}
	noLeftovers(t, when, root)
}

func noLeftovers(t *testing.T, when, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if path != root && strings.HasPrefix(e.Name(), ".tmp-") {
			t.Errorf("%s: %s is left over", when, path)
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

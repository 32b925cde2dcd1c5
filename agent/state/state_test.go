package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/agent/state"
	"countersign/protocol"
)

func open(t *testing.T, root string) *state.Dir {
	t.Helper()
	d, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func opened(t *testing.T) (d *state.Dir, root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "state")
	d = open(t, root)
	t.Cleanup(func() { d.Close() })
	return d, root
}

func enrollment(token string) *state.Enrollment {
	return &state.Enrollment{
		Server: "https://server.example", UID: 1000, StartedAt: time.Unix(1, 0).UTC(),
		Start:     protocol.EnrollmentStart{Token: token},
		DeviceKey: state.KeyFacts{Provider: "tpm"}, ApprovalKey: state.KeyFacts{Provider: "piv", Counter: "token", Touch: true},
		Keys: state.Keys{Device: []byte(token + " device"), Approval: []byte(token + " approval")},
	}
}

func profile(id string, e *state.Enrollment) state.Profile {
	return state.Profile{Issuer: issuers()[0], DeviceURL: issuers()[0], ID: id, Device: "device-1", User: "alice", UID: e.UID, State: state.Active, Keys: e.Keys, JWKS: []byte("{}"), Provider: "piv", DeviceKey: e.DeviceKey, ApprovalKey: e.ApprovalKey}
}

func entry(seq uint64) state.Entry {
	return state.Entry{Seq: seq, ID: "tx", Decision: "d", State: state.Queued, ReceivedAt: time.Unix(2, 0).UTC(), DecidedAt: time.Unix(3, 0).UTC()}
}

// enrolled completes an enrollment into a profile.
func enrolled(t *testing.T, d *state.Dir, id string) state.Profile {
	t.Helper()
	e := enrollment("token of " + id)
	p := profile(id, e)
	if err := errors.Join(d.BeginEnrollment(e), d.CompleteEnrollment(e, p)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSecondOpenIsRefused(t *testing.T) {
	d, root := opened(t)
	if _, err := state.Open(root); !errors.Is(err, state.ErrInUse) {
		t.Errorf("a second service got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, root).Close()
}

func TestDirectoryIsPrivate(t *testing.T) {
	d, root := opened(t)
	enrolled(t, d, "profile-1")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLeftoversAreSwept: they are removed at every level, never read, and the
// directory may itself have such a name.
func TestLeftoversAreSwept(t *testing.T) {
	root := filepath.Join(t.TempDir(), ".tmp-state")
	d := open(t, root)
	p := enrolled(t, d, "profile-1")
	if err := d.SaveEntry(p.ID, entry(1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		".tmp-1", "profiles/.tmp-2/profile.json", "enrolling/.tmp-3/enrollment.json",
		"profiles/profile-1/.tmp-4", "profiles/profile-1/outbox/.tmp-5",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	content := func() {
		t.Helper()
		profiles, err1 := d.Profiles()
		enrollments, err2 := d.Enrollments()
		entries, err3 := d.Entries(p.ID)
		if err := errors.Join(err1, err2, err3); err != nil || len(profiles) != 1 || len(enrollments) != 0 || len(entries) != 1 {
			t.Fatalf("%d profiles, %d enrollments, %d entries, %v", len(profiles), len(enrollments), len(entries), err)
		}
	}
	content()
	d.Close()
	d = open(t, root)
	defer d.Close()
	content()
	noLeftovers(t, "after the next start", root)
}

func TestDamageHidesNothingElse(t *testing.T) {
	d, root := opened(t)
	for _, id := range []string{"profile-1", "profile-2", "profile-3", "profile-4"} {
		enrolled(t, d, id)
	}
	good, bad := enrollment("good"), enrollment("bad")
	if err := errors.Join(d.BeginEnrollment(good), d.BeginEnrollment(bad)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "profiles", "profile-1", "profile.json"), []byte(`{"id":"prof`), 0o600),
		os.Remove(filepath.Join(root, "profiles", "profile-2", "approval.pem")),
		os.CopyFS(filepath.Join(root, "profiles", "profile-3.bak"), os.DirFS(filepath.Join(root, "profiles", "profile-3"))),
		os.Remove(filepath.Join(root, "enrolling", bad.Name, "enrollment.json")),
	); err != nil {
		t.Fatal(err)
	}
	profiles, err := d.Profiles()
	var ids []string
	for _, p := range profiles {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []string{"profile-3", "profile-4"}) {
		t.Errorf("the profiles are %v", ids)
	}
	for _, name := range []string{"profile-1", "profile-2", "profile-3.bak"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	enrollments, err := d.Enrollments()
	if len(enrollments) != 1 || enrollments[0].Name != good.Name {
		t.Errorf("the enrollments are %v", enrollments)
	}
	if err == nil || !strings.Contains(err.Error(), bad.Name) {
		t.Errorf("the error does not name the damaged enrollment: %v", err)
	}
}

func TestEnrollmentComesBackWhole(t *testing.T) {
	d, root := opened(t)
	e := enrollment("token")
	if err := d.BeginEnrollment(e); err != nil {
		t.Fatal(err)
	}
	e.ID, e.Root = "enrollment-1", []byte("root")
	if err := d.SaveEnrollment(e); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = open(t, root)
	list, err := d.Enrollments()
	if diff := cmp.Diff([]*state.Enrollment{e}, list); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := d.AbandonEnrollment(e); err != nil {
		t.Fatal(err)
	}
	if err := d.AbandonEnrollment(e); err != nil {
		t.Errorf("abandoned twice: %v", err)
	}
	if list, err := d.Enrollments(); err != nil || len(list) != 0 {
		t.Errorf("after it is abandoned: %v %v", list, err)
	}
	d.Close()
}

// TestCompleteEnrollmentAgain: a caller that heard of an error calls again,
// and finds the profile made, with the decisions it already has.
func TestCompleteEnrollmentAgain(t *testing.T) {
	d, root := opened(t)
	e := enrollment("token")
	p := profile("profile-1", e)
	if err := errors.Join(d.BeginEnrollment(e), d.CompleteEnrollment(e, p)); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveEntry(p.ID, entry(1)); err != nil {
		t.Fatal(err)
	}
	if err := d.CompleteEnrollment(e, p); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "profiles", p.ID, "enrollment.json")); err == nil {
		t.Errorf("the token is left over: %s", data)
	}
	profiles, err1 := d.Profiles()
	enrollments, err2 := d.Enrollments()
	entries, err3 := d.Entries(p.ID)
	if err := errors.Join(err1, err2, err3); err != nil || len(enrollments) != 0 || len(entries) != 1 {
		t.Errorf("%d enrollments, %d entries, %v", len(enrollments), len(entries), err)
	}
	if diff := cmp.Diff([]state.Profile{p}, profiles); diff != "" {
		t.Error(diff)
	}
}

// TestCompleteEnrollmentTakesNobodysPlace: the server chooses the profile's
// id, and may choose one that is taken.
func TestCompleteEnrollmentTakesNobodysPlace(t *testing.T) {
	d, _ := opened(t)
	victim := enrolled(t, d, "profile-1")
	e := enrollment("thief")
	if err := d.BeginEnrollment(e); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.CompleteEnrollment(e, profile(victim.ID, e)); err == nil {
			t.Fatal("the place of another profile was taken")
		}
	}
	profiles, err := d.Profiles()
	if diff := cmp.Diff([]state.Profile{victim}, profiles); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if list, err := d.Enrollments(); err != nil || len(list) != 1 {
		t.Errorf("the enrollment: %v %v", list, err)
	}
}

func TestProfileIsReplaced(t *testing.T) {
	d, _ := opened(t)
	p := enrolled(t, d, "profile-1")
	p.State, p.Reason = state.Revoked, "lost"
	if err := d.SaveProfile(p); err != nil {
		t.Fatal(err)
	}
	profiles, err := d.Profiles()
	if diff := cmp.Diff([]state.Profile{p}, profiles); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := errors.Join(d.RemoveProfile(p.ID), d.RemoveProfile(p.ID)); err != nil {
		t.Error(err)
	}
	if profiles, err := d.Profiles(); err != nil || len(profiles) != 0 {
		t.Errorf("after it is removed: %v %v", profiles, err)
	}
}

func TestEntriesInOrder(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	for _, seq := range []uint64{10, 2, 1, 1_000_000, 9} {
		if err := d.SaveEntry(p.ID, entry(seq)); err != nil {
			t.Fatal(err)
		}
	}
	changed := entry(2)
	changed.State, changed.Receipt = state.Delivered, "receipt"
	if err := errors.Join(d.SaveEntry(p.ID, changed), d.RemoveEntry(p.ID, 9), d.RemoveEntry(p.ID, 9)); err != nil {
		t.Fatal(err)
	}
	got, err := d.Entries(p.ID)
	want := []state.Entry{entry(1), changed, entry(10), entry(1_000_000)}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	outbox := filepath.Join(root, "profiles", p.ID, "outbox")
	if err := os.Rename(filepath.Join(outbox, "000001000000.json"), filepath.Join(outbox, "000000000011.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Entries(p.ID); err == nil {
		t.Error("a decision under another's number was read")
	}
}

// TestFailedWriteKeepsTheOld: a reader finds the old state where the new one
// could not be written.
func TestFailedWriteKeepsTheOld(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	if err := d.SaveEntry(p.ID, entry(1)); err != nil {
		t.Fatal(err)
	}
	// A directory in the place of the file: the write succeeds, the rename fails.
	if err := os.MkdirAll(filepath.Join(root, "profiles", p.ID, "outbox", "000000000002.json", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveEntry(p.ID, entry(2)); err == nil {
		t.Error("a failed write was not reported")
	}
	noLeftovers(t, "after a failed write", root)
	if err := os.RemoveAll(filepath.Join(root, "profiles", p.ID, "outbox", "000000000002.json")); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Entries(p.ID); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/agent/state"
)

func TestReservationsAreKeptUntilForgotten(t *testing.T) {
	d, root := opened(t)
	want := state.Reservation{Name: "abc", Provider: "tpm", UID: 7, Data: []byte("index")}
	if err := d.Reserve(want); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "reservations", "damaged.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := d.Reservations()
	if err == nil || len(list) != 1 {
		t.Fatalf("read: %+v, %v", list, err)
	}
	if diff := cmp.Diff(want, list[0]); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(d.Unreserve("abc"), d.Unreserve("abc")); err != nil {
		t.Error(err)
	}
	if d.Reserved("abc") {
		t.Error("it is still there")
	}
}

// TestOldProfilesAreCompleted: before there were several back ends both keys
// were in the one, and the approval key had an index.
func TestOldProfilesAreCompleted(t *testing.T) {
	d, root := opened(t)
	enrolled(t, d, "profile-1")
	old := `{"id":"profile-1","provider":"tpm","jwks":{},"state":"active","device_chain":null,"approval_chain":null}`
	if err := os.WriteFile(filepath.Join(root, "profiles", "profile-1", "profile.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := d.Profiles()
	if err != nil || len(list) != 1 {
		t.Fatalf("read: %+v, %v", list, err)
	}
	if list[0].DeviceKey != (state.KeyFacts{Provider: "tpm"}) || list[0].ApprovalKey != (state.KeyFacts{Provider: "tpm", Counter: "index"}) {
		t.Errorf("completed: %+v %+v", list[0].DeviceKey, list[0].ApprovalKey)
	}
}

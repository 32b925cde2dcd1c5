package state_test

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/agent/state"
	"countersign/protocol"
)

func renewal(old []byte) *state.Renewal {
	return &state.Renewal{
		Key: []byte("new key"), Facts: state.KeyFacts{Provider: "tpm", Counter: "index"}, Old: old, ID: "r_12345678", Unattested: "because",
		Renewed: protocol.Renewed{
			Chain:       []protocol.Blob{protocol.Blob("leaf"), protocol.Blob("root")},
			Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
		},
	}
}

// TestRenewalSwitchesTheKeyAtOnce reads the state as a start does after a crash
// before, in the middle of and after each step.
func TestRenewalSwitchesTheKeyAtOnce(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	old := p.Keys
	r := renewal(old.Approval)
	if got := only(t, d); string(got.Keys.Approval) != string(old.Approval) {
		t.Error("the new key is used before it is saved")
	}
	if err := d.SaveRenewal(p.ID, r); err != nil {
		t.Fatal(err)
	}
	for _, crash := range []func(){
		func() {},
		func() { writeFile(t, filepath.Join(root, "profiles", p.ID, "approval.pem"), "new key") },
		func() {
			if err := d.CompleteRenewal(&p, r); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			if err := d.RemoveRenewal(p.ID); err != nil {
				t.Fatal(err)
			}
		},
	} {
		crash()
		got := only(t, d)
		if string(got.Keys.Approval) != "new key" || string(got.Keys.Device) != string(old.Device) || got.ApprovalKey != r.Facts ||
			len(got.ApprovalChain) != 2 || string(got.ApprovalChain[0]) != "leaf" || got.Verdict != r.Renewed.Attestation || got.Unattested != "because" {
			t.Errorf("after the renewal: %+v", got)
		}
	}
	if again, err := d.Renewal(p.ID); again != nil || err != nil {
		t.Errorf("a removed renewal: %v, %v", again, err)
	}
}

func TestDamagedRenewalIsAnError(t *testing.T) {
	for _, text := range []string{"{", "{}", `{"key":"AA==","id":"r"}`} {
		d, root := opened(t)
		p := enrolled(t, d, "profile-1")
		writeFile(t, filepath.Join(root, "profiles", p.ID, "renewal.json"), text)
		if list, err := d.Profiles(); err == nil || len(list) != 0 {
			t.Errorf("%s: a profile whose key is unknown is used: %d, %v", text, len(list), err)
		}
	}
}

// only reads the one profile there is.
func only(t *testing.T, d *state.Dir) state.Profile {
	t.Helper()
	list, err := d.Profiles()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d profiles, %v", len(list), err)
	}
	return list[0]
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

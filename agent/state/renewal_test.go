package state_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/agent/state"
	"countersign/protocol"
)

func renewal(role protocol.Role, old []byte) *state.Renewal {
	return &state.Renewal{
		Role: role, Key: []byte("new key"), Facts: state.KeyFacts{Provider: "tpm", Counter: "index"}, Old: old, ID: "r_12345678", Unattested: "because",
		Renewed: protocol.Renewed{
			Chain:       []protocol.Blob{protocol.Blob("leaf"), protocol.Blob("root")},
			Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
		},
	}
}

// switched is the profile as it must be with the new key.
func switched(p state.Profile, r *state.Renewal) state.Profile {
	chain := [][]byte{[]byte("leaf"), []byte("root")}
	if r.Role == protocol.RoleDevice {
		p.Keys.Device, p.DeviceKey, p.DeviceChain = r.Key, r.Facts, chain
		return p
	}
	p.Keys.Approval, p.ApprovalKey, p.ApprovalChain = r.Key, r.Facts, chain
	p.Verdict, p.Unattested = r.Renewed.Attestation, r.Unattested
	return p
}

// TestRenewalSwitchesTheKeyAtOnce reads the state as a start does after a crash
// before, in the middle of and after each step.
func TestRenewalSwitchesTheKeyAtOnce(t *testing.T) {
	for role, file := range map[protocol.Role]string{protocol.RoleDevice: "device.pem", protocol.RoleApproval: "approval.pem"} {
		t.Run(string(role), func(t *testing.T) {
			d, root := opened(t)
			p := enrolled(t, d, "profile-1")
			r := renewal(role, []byte("old"))
			before := only(t, d)
			if diff := cmp.Diff(p.Keys, before.Keys); diff != "" {
				t.Errorf("the new key is used before it is saved: %s", diff)
			}
			if err := d.SaveRenewal(p.ID, r); err != nil {
				t.Fatal(err)
			}
			for _, crash := range []func() error{
				func() error { return nil },
				func() error { return os.WriteFile(filepath.Join(root, "profiles", p.ID, file), r.Key, 0o600) },
				func() error { return d.CompleteRenewal(&p, r) },
				func() error { return d.RemoveRenewal(p.ID, role) },
			} {
				if err := crash(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(switched(before, r), only(t, d)); diff != "" {
					t.Errorf("after the renewal: %s", diff)
				}
			}
			if again, err := d.Renewal(p.ID, role); again != nil || err != nil {
				t.Errorf("a removed renewal: %v, %v", again, err)
			}
		})
	}
}

// TestRenewalWithoutARole is one that an earlier version left.
func TestRenewalWithoutARole(t *testing.T) {
	d, _ := opened(t)
	p := enrolled(t, d, "profile-1")
	if err := d.SaveRenewal(p.ID, renewal("", p.Keys.Approval)); err != nil {
		t.Fatal(err)
	}
	if got := only(t, d); string(got.Keys.Approval) != "new key" || string(got.Keys.Device) != string(p.Keys.Device) {
		t.Errorf("the profile is %+v", got)
	}
}

func TestDamagedRenewalIsAnError(t *testing.T) {
	for file, text := range map[string]string{
		"renewal.json": "{", "device-renewal.json": "{}",
		// A renewal of another key than its name says.
		"./device-renewal.json": `{"role":"approval","key":"AA==","id":"r","renewed":{"chain":["AA"]}}`,
		"./renewal.json":        `{"key":"AA==","id":"r"}`,
	} {
		d, root := opened(t)
		p := enrolled(t, d, "profile-1")
		writeFile(t, filepath.Join(root, "profiles", p.ID, file), text)
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

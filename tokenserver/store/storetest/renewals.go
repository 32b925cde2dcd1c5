package storetest

import (
	"errors"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

func (f fixture) renewal(id string) store.Renewal {
	return store.Renewal{
		ID: id, Device: "d", State: store.RenewalPending, Key: "ak-" + id, OldKey: "ak-d", OldChain: [][]byte{{3}, {4}},
		Request: protocol.RenewalStart{
			Role: protocol.RoleApproval, CSR: protocol.Blob{5}, Succession: "jws-" + id,
			Attestation: protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: &protocol.TPM2Start{EKChain: []protocol.Blob{{1}}, AK: protocol.Blob{2}}},
		},
		Challenge: []byte{6}, Credential: &protocol.Credential{Blob: protocol.Blob{7}, Secret: protocol.Blob{8}}, Secret: []byte{9},
		CreatedAt: f.at, ChangedAt: f.at,
	}
}

func (f fixture) issue() store.RenewalIssue {
	return store.RenewalIssue{
		Verdict: protocol.Verdict{Format: protocol.AttestationTPM2, Attested: true, PINBound: true, Isolation: "user"},
		Proof:   &protocol.ProofAttestation{TPM2: &protocol.TPM2Proof{Secret: protocol.Blob{9}}},
		Chain:   [][]byte{{10}, {11}},
	}
}

func testRenewals(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	later := f.at.Add(time.Second)
	want := f.renewal("r")
	read := func(tx store.Tx) ([]store.Renewal, error) { return tx.Renewals(store.RenewalFilter{Device: "d"}) }
	same(f, nil, read)
	f.update(func(tx store.Tx) error { return tx.AddRenewal(want) })
	same(f, []store.Renewal{want}, read)
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.CompleteRenewal("r", later) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.IssueRenewal("x", f.issue(), later) })

	f.update(func(tx store.Tx) error { return tx.IssueRenewal("r", f.issue(), later) })
	want.State, want.RenewalIssue, want.ChangedAt = store.RenewalIssued, f.issue(), later
	same(f, []store.Renewal{want}, read)
	same(f, []store.Device{f.device("d")}, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{ID: "d"}) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.IssueRenewal("r", f.issue(), later) })

	f.update(func(tx store.Tx) error { return tx.CompleteRenewal("r", later) })
	want.State = store.RenewalDone
	same(f, []store.Renewal{want}, read)
	device := f.device("d")
	device.ApprovalKey, device.ApprovalCSR, device.ApprovalChain, device.Verdict = "ak-r", []byte{5}, [][]byte{{10}, {11}}, f.issue().Verdict
	same(f, []store.Device{device}, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{Key: "ak-r"}) })
	for name, again := range map[string]func(tx store.Tx) error{
		"issue":    func(tx store.Tx) error { return tx.IssueRenewal("r", f.issue(), later) },
		"complete": func(tx store.Tx) error { return tx.CompleteRenewal("r", later) },
		"nothing":  func(tx store.Tx) error { return tx.CompleteRenewal("", later) },
		"drop":     func(tx store.Tx) error { return tx.DropRenewal("r", later) },
	} {
		t.Run(name, func(*testing.T) { f.refused(store.ErrConflict, again) })
	}
}

// testPastKeys tries to bring back keys that were, or were to be, a device's.
func testPastKeys(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.update(func(tx store.Tx) error {
		next := f.renewal("next")
		next.OldKey = "ak-r"
		return errors.Join(
			tx.AddRenewal(f.renewal("r")), tx.IssueRenewal("r", f.issue(), f.at), tx.CompleteRenewal("r", f.at),
			tx.AddRenewal(next), tx.DropRenewal("next", f.at),
		)
	})
	for name, key := range map[string]string{"replaced": "ak-d", "present": "ak-r", "dropped": "ak-next", "another role": "dk-d"} {
		t.Run(name, func(*testing.T) {
			for _, spoil := range []func(*store.Device){
				func(d *store.Device) { d.DeviceKey = key },
				func(d *store.Device) { d.ApprovalKey = key },
			} {
				d := f.device("new")
				spoil(&d)
				f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddDevice(d) })
			}
			r := f.renewal("again")
			r.Key = key
			f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddRenewal(r) })
		})
	}
	for key, want := range map[string]int{"ak-d": 1, "ak-r": 2, "ak-next": 1, "dk-d": 0} {
		same(f, want, func(tx store.Tx) (int, error) {
			list, err := tx.Renewals(store.RenewalFilter{Device: "d", Key: key})
			return len(list), err
		})
	}
}

func testOneRenewal(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	add := func(id string) func(tx store.Tx) error {
		return func(tx store.Tx) error { return tx.AddRenewal(f.renewal(id)) }
	}
	f.update(add("a"))
	f.refused(store.ErrConflict, add("b"))
	f.update(func(tx store.Tx) error { return tx.IssueRenewal("a", f.issue(), f.at) })
	f.refused(store.ErrConflict, add("b"))
	f.update(func(tx store.Tx) error { return errors.Join(tx.DropRenewal("a", f.at), tx.AddRenewal(f.renewal("b"))) })
	device := f.renewal("c")
	device.OldKey, device.Request.Role = "dk-d", protocol.RoleDevice
	f.update(func(tx store.Tx) error { return tx.AddRenewal(device) })
	same(f, []store.Renewal{device}, func(tx store.Tx) ([]store.Renewal, error) {
		return tx.Renewals(store.RenewalFilter{Device: "d", Role: protocol.RoleDevice})
	})
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.IssueRenewal("c", f.issue(), f.at), tx.CompleteRenewal("c", f.at))
	})
	want := f.device("d")
	want.DeviceKey, want.DeviceCSR, want.DeviceChain, want.DeviceVerdict = "ak-c", []byte{5}, [][]byte{{10}, {11}}, f.issue().Verdict
	same(f, []store.Device{want}, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{ID: "d"}) })
	open := store.RenewalFilter{Device: "d", States: []store.RenewalState{store.RenewalPending, store.RenewalIssued}}
	same(f, []store.Renewal{f.renewal("b")}, func(tx store.Tx) ([]store.Renewal, error) { return tx.Renewals(open) })
}

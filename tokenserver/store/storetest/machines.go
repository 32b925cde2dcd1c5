package storetest

import (
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

func (f fixture) machineToken(id string) store.MachineToken {
	return store.MachineToken{ID: id, Hash: []byte("hash-" + id), Note: "floor 2", Uses: 2, ExpiresAt: f.at.Add(time.Hour), CreatedAt: f.at}
}

func (f fixture) machine(id string) store.Machine {
	return store.Machine{
		ID: id, EK: "ek-" + id, State: store.MachineActive, Endorsement: protocol.EndorsedByMaker, Key: "mk-" + id, Token: "k",
		Facts: protocol.MachineFacts{Name: "laptop", Chip: protocol.Chip{Vendor: "said"}}, Chip: protocol.Chip{Vendor: "proved"},
		Chain: [][]byte{{1}, {2}}, CreatedAt: f.at, EnrolledAt: f.at.Add(time.Second), SeenAt: f.at.Add(time.Minute),
	}
}

func (f fixture) machineEnrollment(id string) store.MachineEnrollment {
	return store.MachineEnrollment{
		ID: id, Key: "mk-" + id, EK: "ek-" + id, Token: "k", Start: protocol.MachineStart{CSR: protocol.Blob{1}, EK: protocol.Blob{2}, AK: protocol.Blob{3}},
		Endorsement: protocol.NotEndorsed, Challenge: []byte{4}, Credential: protocol.Credential{Blob: protocol.Blob{5}, Secret: protocol.Blob{6}},
		Secret: []byte{7}, CreatedAt: f.at,
	}
}

func testMachineTokens(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	want := f.machineToken("k")
	f.update(func(tx store.Tx) error { return tx.AddMachineToken(want) })
	again := f.machineToken("l")
	again.Hash = want.Hash
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddMachineToken(again) })
	same(f, want, func(tx store.Tx) (store.MachineToken, error) { return tx.MachineTokenOf(want.Hash) })
	missing(f, func(tx store.Tx) (store.MachineToken, error) { return tx.MachineTokenOf([]byte("x")) })
	use := func(tx store.Tx) error { return tx.UseMachineToken("k") }
	f.update(use)
	f.update(use)
	f.refused(store.ErrConflict, use)
	want.Used = 2
	same(f, []store.MachineToken{want}, func(tx store.Tx) ([]store.MachineToken, error) { return tx.MachineTokens() })

	f.update(func(tx store.Tx) error { return tx.AddMachineToken(f.machineToken("l")) })
	revoke := func(tx store.Tx) error { return tx.RevokeMachineToken("l", f.at) }
	f.update(revoke)
	f.refused(store.ErrConflict, revoke)
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.UseMachineToken("l") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.UseMachineToken("x") })
	same(f, true, func(tx store.Tx) (bool, error) {
		l, err := tx.MachineToken("l")
		return l.RevokedAt.Equal(f.at), err
	})
}

func testRegisteredEKs(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	k := store.RegisteredEK{EK: "sha256:00", Name: "hall", CreatedAt: f.at}
	f.update(func(tx store.Tx) error { return tx.RegisterEK(k) })
	renamed := store.RegisteredEK{EK: k.EK, Name: "attic", CreatedAt: f.at.Add(time.Hour)}
	f.update(func(tx store.Tx) error { return tx.RegisterEK(renamed) })
	k.Name = "attic" // and it is as old as it was
	same(f, []store.RegisteredEK{k}, func(tx store.Tx) ([]store.RegisteredEK, error) { return tx.RegisteredEKs() })
	same(f, k, func(tx store.Tx) (store.RegisteredEK, error) { return tx.RegisteredEK(k.EK) })
	f.update(func(tx store.Tx) error { return tx.UnregisterEK(k.EK) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.UnregisterEK(k.EK) })
	missing(f, func(tx store.Tx) (store.RegisteredEK, error) { return tx.RegisteredEK(k.EK) })
}

func testMachineEnrollments(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	add := func(e store.MachineEnrollment) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.AddMachineEnrollment(e) }
	}
	open := func(tx store.Tx) (int, error) { return tx.OpenMachineEnrollments("k") }
	first := f.machineEnrollment("a")
	f.update(add(first))
	same(f, first, func(tx store.Tx) (store.MachineEnrollment, error) { return tx.MachineEnrollment("a") })

	// Another key of the same TPM takes its place while it is open.
	second := f.machineEnrollment("b")
	second.EK = first.EK
	f.update(add(second))
	missing(f, func(tx store.Tx) (store.MachineEnrollment, error) { return tx.MachineEnrollment("a") })
	same(f, 1, open)
	same(f, 0, func(tx store.Tx) (int, error) { return tx.OpenMachineEnrollments("another") })
	proof := protocol.MachineActivation{Secret: protocol.Blob{9}, Key: protocol.TPM2Key{
		Public: protocol.Blob{10}, Creation: protocol.Blob{11}, Attest: protocol.Blob{12}, Signature: protocol.Blob{13},
	}}
	prove := func(tx store.Tx) error { return tx.ProveMachineEnrollment("b", "m", proof) }
	f.update(prove)
	f.refused(store.ErrConflict, prove)
	second.Machine, second.Proof = "m", &proof
	third := f.machineEnrollment("c")
	third.EK = first.EK
	f.update(add(third))
	same(f, second, func(tx store.Tx) (store.MachineEnrollment, error) { return tx.MachineEnrollmentOf("mk-b") })

	for name, key := range map[string]string{"another enrollment's": "mk-b", "a device's": "dk-d", "an approval key": "ak-d"} {
		t.Run(name, func(*testing.T) {
			e := f.machineEnrollment("d")
			e.Key = key
			f.refused(store.ErrConflict, add(e))
		})
	}
	d := f.device("new")
	d.DeviceKey = "mk-b"
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddDevice(d) })

	f.update(func(tx store.Tx) error { return tx.DropMachineEnrollments(f.at) })
	same(f, 1, open)
	f.update(func(tx store.Tx) error { return tx.DropMachineEnrollments(f.at.Add(time.Second)) })
	same(f, 0, open)
	same(f, second, func(tx store.Tx) (store.MachineEnrollment, error) { return tx.MachineEnrollment("b") })
}

func testMachines(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	want := f.machine("m")
	put := func(m store.Machine) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.PutMachine(m) }
	}
	f.update(put(want))
	for name, spoil := range map[string]func(*store.Machine){
		"endorsement key": func(m *store.Machine) { m.EK = want.EK },
		"key":             func(m *store.Machine) { m.Key = want.Key },
		"device's key":    func(m *store.Machine) { m.Key = "dk-d" },
	} {
		t.Run(name, func(*testing.T) {
			m := f.machine("n")
			spoil(&m)
			f.refused(store.ErrConflict, put(m))
		})
	}
	report := &protocol.MachineReport{Agent: "v1", OS: "debian", Checks: []protocol.MachineCheck{{Code: "tpm", Status: "ok"}}}
	seen := f.at.Add(time.Hour)
	f.update(func(tx store.Tx) error { return tx.SeeMachine("m", seen, report) })
	f.update(func(tx store.Tx) error { return tx.SetMachineChain("m", [][]byte{{3}}) })
	f.update(func(tx store.Tx) error { return tx.SeeMachine("m", seen.Add(time.Hour), nil) })
	f.update(func(tx store.Tx) error { return tx.SetMachineTrust("m", 3, seen) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.SetMachineTrust("m", 3, seen) })
	want.TrustSeq, want.TrustAt = 3, seen
	want.Report, want.ReportedAt, want.SeenAt, want.Chain = report, seen, seen.Add(time.Hour), [][]byte{{3}}
	for _, filter := range []store.MachineFilter{{}, {ID: "m"}, {EK: want.EK}, {Key: want.Key}} {
		same(f, []store.Machine{want}, func(tx store.Tx) ([]store.Machine, error) { return tx.Machines(filter) })
	}
	same(f, nil, func(tx store.Tx) ([]store.Machine, error) { return tx.Machines(store.MachineFilter{ID: "m", Key: "x"}) })

	want.Key, want.Report = "mk-new", nil
	f.update(put(want))
	revoke := func(tx store.Tx) error { return tx.RevokeMachine("m", "lost") }
	f.update(revoke)
	f.refused(store.ErrConflict, revoke)
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.SeeMachine("x", seen, nil) })
	want.State, want.Reason = store.MachineRevoked, "lost"
	same(f, []store.Machine{want}, func(tx store.Tx) ([]store.Machine, error) { return tx.Machines(store.MachineFilter{}) })
}

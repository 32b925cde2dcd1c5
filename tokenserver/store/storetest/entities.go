package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

func testPeople(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	alice := store.User{Name: "alice", CreatedAt: f.at}
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddUser(alice) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.SetLocked("bob", true) })
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.AddUser(store.User{Name: "Zoe", CreatedAt: f.at}), tx.SetLocked("alice", true))
	})
	alice.Locked = true
	same(f, []store.User{{Name: "Zoe", CreatedAt: f.at}, alice}, func(tx store.Tx) ([]store.User, error) { return tx.Users() })

	bank := store.Client{ID: "c", Name: "Bank", SecretHash: []byte{1}, CreatedAt: f.at}
	same(f, bank, func(tx store.Tx) (store.Client, error) { return tx.Client("c") })
	missing(f, func(tx store.Tx) (store.Client, error) { return tx.Client("x") })
	f.refused(store.ErrConflict, func(tx store.Tx) error {
		return tx.AddClient(store.Client{ID: "c2", Name: "Bank", SecretHash: []byte{1}})
	})
}

func testTypes(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	v := store.Type{
		Name: "login", Method: protocol.MethodPIN, Class: protocol.C2, TTL: time.Minute, Digits: 6, HighValue: true,
		Require: []string{store.RequireAttested}, MinFirmware: map[string]string{"Yubico": "5.7"}, DenyVendors: []string{"IBM"},
	}
	f.update(func(tx store.Tx) error { return tx.PutType(v) })
	v.Class = protocol.C3
	f.update(func(tx store.Tx) error { return tx.PutType(v) })
	same(f, v, func(tx store.Tx) (store.Type, error) { return tx.Type("login") })
	same(f, []store.Type{v}, func(tx store.Tx) ([]store.Type, error) { return tx.Types() })
	missing(f, func(tx store.Tx) (store.Type, error) { return tx.Type("x") })
}

func testTokens(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddToken(f.token("t")) })
	f.update(func(tx store.Tx) error { return tx.UseToken([]byte("t"), "e-1") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.UseToken([]byte("t"), "e-2") })
	want := f.token("t")
	want.UsedBy = "e-1"
	same(f, want, func(tx store.Tx) (store.Token, error) { return tx.Token([]byte("t")) })
	missing(f, func(tx store.Tx) (store.Token, error) { return tx.Token([]byte("x")) })
}

func testDevices(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	d, e := f.device("d"), f.device("e")
	e.Code = "654321"
	f.update(func(tx store.Tx) error { return tx.AddDevice(e) })
	for _, c := range []struct {
		filter store.DeviceFilter
		want   []store.Device
	}{
		{store.DeviceFilter{}, []store.Device{d, e}},
		{store.DeviceFilter{ID: "d"}, []store.Device{d}},
		{store.DeviceFilter{Enrollment: "e-e"}, []store.Device{e}},
		{store.DeviceFilter{User: "alice", States: []store.DeviceState{store.DeviceActive, store.DevicePending}}, []store.Device{d, e}},
		{store.DeviceFilter{States: []store.DeviceState{store.DeviceActive}}, nil},
		{store.DeviceFilter{Code: "654321"}, []store.Device{e}},
		{store.DeviceFilter{Key: "dk-d"}, []store.Device{d}},
		{store.DeviceFilter{Key: "ak-e"}, []store.Device{e}},
		{store.DeviceFilter{ID: "d", Key: "ak-e"}, nil},
	} {
		same(f, c.want, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(c.filter) })
	}
}

func testDeviceKeys(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	for name, spoil := range map[string]func(*store.Device){
		"id":              func(d *store.Device) { d.ID = "d" },
		"enrollment":      func(d *store.Device) { d.Enrollment = "e-d" },
		"profile":         func(d *store.Device) { d.Profile = "p-d" },
		"device key":      func(d *store.Device) { d.DeviceKey = "dk-d" },
		"approval key":    func(d *store.Device) { d.ApprovalKey = "ak-d" },
		"in another role": func(d *store.Device) { d.DeviceKey = "ak-d" },
		"in both roles":   func(d *store.Device) { d.DeviceKey = d.ApprovalKey },
	} {
		t.Run(name, func(*testing.T) {
			d := f.device("new")
			spoil(&d)
			f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddDevice(d) })
		})
	}
}

func testDeviceStates(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	later := f.at.Add(time.Second)
	f.refused(store.ErrConflict, func(tx store.Tx) error {
		return tx.SetDeviceState("d", store.DeviceUnconfirmed, store.DeviceActive, "", later)
	})
	issue := store.DeviceIssue{
		State: store.DeviceActive, Verdict: protocol.Verdict{Format: protocol.AttestationTPM2, Attested: true, Isolation: "service"},
		DeviceVerdict: protocol.Verdict{Format: protocol.AttestationPIV, Attested: true, Isolation: "service"},
		DeviceChain:   [][]byte{{1}, {2}}, ApprovalChain: [][]byte{{3}}, At: later,
	}
	f.update(func(tx store.Tx) error { return tx.IssueDevice("d", issue) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.IssueDevice("d", issue) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.DropPending("d") })
	f.update(func(tx store.Tx) error {
		return tx.SetDeviceState("d", store.DeviceActive, store.DeviceRevoked, "lost", later)
	})
	want := f.device("d")
	want.State, want.Reason, want.ChangedAt = store.DeviceRevoked, "lost", later
	want.Verdict, want.DeviceVerdict = issue.Verdict, issue.DeviceVerdict
	want.DeviceChain, want.ApprovalChain = issue.DeviceChain, issue.ApprovalChain
	same(f, []store.Device{want}, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{ID: "d"}) })

	f.update(func(tx store.Tx) error { return errors.Join(tx.AddDevice(f.device("e")), tx.DropPending("e")) })
	same(f, nil, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{ID: "e"}) })
}

func testAttestations(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	read := func(tx store.Tx) (store.Attestation, error) { return tx.Attestation("d") }
	missing(f, read)
	a := store.Attestation{
		Device: "d",
		Start: protocol.StartAttestation{
			Format: protocol.AttestationPIV,
			TPM2:   &protocol.TPM2Start{EKChain: []protocol.Blob{{1}, {2}}, AK: protocol.Blob{3}},
			PIV:    &protocol.PIVStart{Approval: []protocol.Blob{{4}, {5}}},
		},
		Credential: &protocol.Credential{Blob: protocol.Blob{6}, Secret: protocol.Blob{7}}, Secret: []byte{8},
	}
	f.update(func(tx store.Tx) error { return tx.AddAttestation(a) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddAttestation(a) })
	same(f, a, read)
	proof := protocol.ProofAttestation{
		TPM2: &protocol.TPM2Proof{Secret: protocol.Blob{8}, Device: &protocol.TPM2Key{
			Public: protocol.Blob{9}, Creation: protocol.Blob{10}, Attest: protocol.Blob{11}, Signature: protocol.Blob{12},
		}},
		PIV: &protocol.PIVProof{Approval: protocol.Blob{13}},
	}
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.ProveAttestation("e", proof) })
	f.update(func(tx store.Tx) error { return tx.ProveAttestation("d", proof) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.ProveAttestation("d", protocol.ProofAttestation{}) })
	a.Proof = &proof
	same(f, a, read)
	f.update(func(tx store.Tx) error { return tx.DropPending("d") })
	missing(f, read)
	f.refused(store.ErrConflict, func(tx store.Tx) error {
		return errors.Join(tx.AddDevice(f.device("d")), tx.ProveAttestation("d", proof))
	})
}

func testTransactions(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.start("x")
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddTransaction(f.transaction("x"), nil) })
	same(f, f.transaction("x"), func(tx store.Tx) (store.Transaction, error) { return tx.Transaction("x") })
	missing(f, func(tx store.Tx) (store.Transaction, error) { return tx.Transaction("y") })
	same(f, []string{"d"}, func(tx store.Tx) ([]string, error) { return tx.Addressed("x") })
	same(f, store.Request{Transaction: "x", Device: "d", Compact: "jws-x"}, func(tx store.Tx) (store.Request, error) { return tx.Request("x", "d") })
	missing(f, func(tx store.Tx) (store.Request, error) { return tx.Request("x", "e") })

	same(f, nil, func(tx store.Tx) ([]string, error) { return tx.Overdue(f.at.Add(time.Minute-1), 10) })
	same(f, []string{"x"}, func(tx store.Tx) ([]string, error) { return tx.Overdue(f.at.Add(time.Minute), 10) })
}

func testFinish(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.start("x")
	o := store.Outcome{State: protocol.StateDenied, Reason: protocol.ReasonNotMe, At: f.at.Add(time.Second), Device: "d", Decision: "h"}
	f.update(func(tx store.Tx) error { return tx.Finish("x", o) })
	for _, again := range []protocol.State{protocol.StateApproved, protocol.StateDenied, protocol.StateExpired} {
		f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.Finish("x", store.Outcome{State: again}) })
	}
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.Finish("y", o) })
	want := f.transaction("x")
	want.State, want.Reason, want.DecidedAt, want.DecidedBy, want.Decision = o.State, o.Reason, o.At, o.Device, o.Decision
	same(f, want, func(tx store.Tx) (store.Transaction, error) { return tx.Transaction("x") })
	same(f, nil, func(tx store.Tx) ([]string, error) { return tx.Overdue(f.at.Add(time.Hour), 10) })
}

func testFinishRace(t *testing.T, s, other store.Store) {
	f := begin(t, s)
	f.start("x")
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			via := []store.Store{s, other}[i%2]
			err := via.Update(context.Background(), func(tx store.Tx) error { return tx.Finish("x", store.Outcome{State: protocol.StateApproved}) })
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 40 finished one transaction", won.Load())
	}
}

func testTries(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.start("x")
	for want := 1; want <= 3; want++ {
		f.update(func(tx store.Tx) error {
			n, err := tx.UseTry("x", 3)
			if n != want {
				t.Errorf("try %d counts as %d", want, n)
			}
			return err
		})
	}
	use := func(tx store.Tx) error {
		_, err := tx.UseTry("x", 3)
		return err
	}
	f.refused(store.ErrConflict, use)
	f.update(func(tx store.Tx) error { return tx.Finish("x", store.Outcome{State: protocol.StateFailed}) })
	f.refused(store.ErrConflict, use)
}

func testPending(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.start("b")
	f.start("a")
	f.start("c")
	f.update(func(tx store.Tx) error { return tx.Finish("a", store.Outcome{State: protocol.StateCancelled}) })
	want := []store.Request{{Transaction: "b", Device: "d", Compact: "jws-b"}, {Transaction: "c", Device: "d", Compact: "jws-c"}}
	same(f, want, func(tx store.Tx) ([]store.Request, error) { return tx.Pending("alice", "d", f.at) })
	same(f, nil, func(tx store.Tx) ([]store.Request, error) { return tx.Pending("alice", "e", f.at) })
	same(f, nil, func(tx store.Tx) ([]store.Request, error) { return tx.Pending("alice", "d", f.at.Add(time.Minute)) })
}

func testDecisions(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.start("x")
	d := store.Decision{
		Hash: "h", Device: "d", Transaction: "x", Key: "k", Compact: "jws", Prev: "p", Status: 200,
		Answer: []byte(`{"receipt":"r"}`), Receipt: "r", At: f.at,
	}
	f.update(func(tx store.Tx) error { return tx.AddDecision(d) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddDecision(d) })
	same(f, d, func(tx store.Tx) (store.Decision, error) { return tx.Decision("d", "h") })
	missing(f, func(tx store.Tx) (store.Decision, error) { return tx.Decision("e", "h") })
}

func testEvents(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	var want []store.Event
	for i := range int64(5) {
		e := store.Event{ID: i + 1, At: f.at, Kind: "k", User: "u", Device: "d", Client: "c", Transaction: "t", Machine: "m", Detail: "x"}
		want = append(want, e)
		e.ID = 0
		f.update(func(tx store.Tx) error { return tx.AddEvent(e) })
	}
	same(f, want, func(tx store.Tx) ([]store.Event, error) { return tx.Events(0, 10) })
	same(f, want[3:], func(tx store.Tx) ([]store.Event, error) { return tx.Events(0, 2) })
	same(f, want[4:], func(tx store.Tx) ([]store.Event, error) { return tx.Events(4, 2) })
}

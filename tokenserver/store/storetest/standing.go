package storetest

import (
	"errors"
	"testing"
	"time"

	"countersign/tokenserver/store"
)

func testChain(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	link := func(device, prev, hash string) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Link(device, prev, hash, f.at) }
	}
	f.update(link("d", "none", "first"))
	f.update(link("d", "none", "first")) // again
	f.update(link("d", "first", "second"))
	f.refused(store.ErrConflict, link("d", "none", "other"))
	f.update(func(tx store.Tx) error { return tx.AddDevice(f.device("e")) })
	f.update(link("e", "none", "other"))
	for hash, want := range map[string]bool{"first": true, "second": true, "other": false} {
		same(f, want, func(tx store.Tx) (bool, error) { return tx.Linked("d", hash) })
	}
}

func testBlocks(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	b := store.Block{Device: "d", Client: "c", User: "alice", ClientName: "Bank", At: f.at}
	f.update(func(tx store.Tx) error { return errors.Join(tx.AddBlock(b), tx.AddBlock(b)) })
	for _, c := range []struct {
		filter store.BlockFilter
		want   []store.Block
	}{
		{store.BlockFilter{}, []store.Block{b}},
		{store.BlockFilter{Device: "d", Client: "c", User: "alice"}, []store.Block{b}},
		{store.BlockFilter{User: "bob"}, nil},
		{store.BlockFilter{Client: "x"}, nil},
	} {
		same(f, c.want, func(tx store.Tx) ([]store.Block, error) { return tx.Blocks(c.filter) })
	}
	f.update(func(tx store.Tx) error {
		return tx.AddTransaction(f.transaction("x"), []store.Request{{Transaction: "x", Device: "d", Compact: "r"}})
	})
	pending := func(tx store.Tx) (int, error) {
		list, err := tx.Pending("alice", "d", f.at)
		return len(list), err
	}
	same(f, 0, pending)
	for _, was := range []bool{true, false} {
		f.update(func(tx store.Tx) error {
			got, err := tx.RemoveBlock("d", "c")
			if got != was {
				t.Errorf("there was one: %v, want %v", got, was)
			}
			return err
		})
	}
	same(f, 1, pending)
}

func testStanding(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.SuspendDevice("d", "why"), tx.SetQuiet("d", f.at.Add(time.Hour), "muted"))
	})
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.SuspendDevice("d", "again") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.SuspendDevice("x", "why") })
	learn := func(id string, seq int64, at time.Time) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.SetTrust(id, seq, at) }
	}
	f.update(learn("d", 3, f.at))
	f.refused(store.ErrConflict, learn("d", 3, f.at.Add(time.Hour)))
	f.refused(store.ErrConflict, learn("d", 2, f.at))
	f.refused(store.ErrConflict, learn("x", 1, f.at))
	want := f.device("d")
	want.Suspended, want.QuietUntil, want.QuietReason = "why", f.at.Add(time.Hour), "muted"
	want.TrustSeq, want.TrustAt = 3, f.at
	same(f, []store.Device{want}, func(tx store.Tx) ([]store.Device, error) { return tx.Devices(store.DeviceFilter{ID: "d"}) })
	f.update(func(tx store.Tx) error { return tx.SuspendDevice("d", "") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.SuspendDevice("d", "") })
	same(f, []store.Client{{ID: "c", Name: "Bank", SecretHash: []byte{1}, CreatedAt: f.at}}, func(tx store.Tx) ([]store.Client, error) { return tx.Clients() })
}

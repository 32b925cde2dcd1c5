// Package storetest is the suite that every store of the Token Server passes.
package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

// Open returns two stores over one new and empty database, as two processes
// have them, and closes both when the test ends.
type Open func(tb testing.TB) (a, b store.Store)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, s, other store.Store){
		"update is all or nothing":    testAtomic,
		"updates share no failure":    testIsolatedFailures,
		"a panic is an error":         testPanic,
		"view changes nothing":        testView,
		"an ended context":            testContext,
		"changes of another process":  testChanges,
		"use after close":             testClosed,
		"people":                      testPeople,
		"types":                       testTypes,
		"tokens":                      testTokens,
		"devices":                     testDevices,
		"device keys are unique":      testDeviceKeys,
		"device states":               testDeviceStates,
		"attestations":                testAttestations,
		"renewals":                    testRenewals,
		"keys of the past":            testPastKeys,
		"one open renewal":            testOneRenewal,
		"transactions":                testTransactions,
		"one final state":             testFinish,
		"one final state of two":      testFinishRace,
		"tries":                       testTries,
		"pending requests":            testPending,
		"decisions":                   testDecisions,
		"events":                      testEvents,
		"chain":                       testChain,
		"offers":                      testOffers,
		"blocks":                      testBlocks,
		"machine tokens":              testMachineTokens,
		"registered endorsement keys": testRegisteredEKs,
		"machine enrollments":         testMachineEnrollments,
		"machines":                    testMachines,
		"suspended and quiet":         testStanding,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a, b)
		})
	}
}

// fixture is a database with one of everything that others refer to.
type fixture struct {
	t *testing.T
	store.Store
	at time.Time
}

func begin(t *testing.T, s store.Store) fixture {
	t.Helper()
	f := fixture{t, s, time.UnixMilli(1_800_000_000_123).UTC()}
	f.update(func(tx store.Tx) error {
		return errors.Join(
			tx.AddUser(store.User{Name: "alice", CreatedAt: f.at}),
			tx.AddClient(store.Client{ID: "c", Name: "Bank", SecretHash: []byte{1}, CreatedAt: f.at}),
			tx.AddToken(f.token("t")),
			tx.AddDevice(f.device("d")),
		)
	})
	return f
}

func (f fixture) token(name string) store.Token {
	return store.Token{Hash: []byte(name), User: "alice", ExpiresAt: f.at.Add(time.Minute), Confirm: true, Replaces: "old", CreatedAt: f.at}
}

func (f fixture) device(id string) store.Device {
	return store.Device{
		ID: id, Enrollment: "e-" + id, Profile: "p-" + id, User: "alice", TokenHash: []byte("t"), State: store.DevicePending,
		Facts:   protocol.DeviceFacts{Name: "laptop", Chip: protocol.Chip{Vendor: "v"}},
		Verdict: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
		// Not the same, lest they be mistaken for one another.
		DeviceVerdict: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "service"},
		Challenge:     []byte{2}, DeviceCSR: []byte{3}, ApprovalCSR: []byte{4}, DeviceKey: "dk-" + id, ApprovalKey: "ak-" + id,
		Confirm: true, Replaces: "old", Code: "123456", CreatedAt: f.at, ChangedAt: f.at,
	}
}

func (f fixture) transaction(id string) store.Transaction {
	return store.Transaction{
		ID: id, ClientID: "c", ClientName: "Bank", User: "alice", Type: "login", Method: protocol.MethodPIN, Class: protocol.C2,
		Number: "000042", State: protocol.StatePending, CreatedAt: f.at, ExpiresAt: f.at.Add(time.Minute),
	}
}

func (f fixture) update(fn func(store.Tx) error) {
	f.t.Helper()
	if err := f.Update(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

// refused fails the test unless the update fails with want.
func (f fixture) refused(want error, fn func(store.Tx) error) {
	f.t.Helper()
	if err := f.Update(context.Background(), fn); !errors.Is(err, want) {
		f.t.Fatalf("got %v, want %v", err, want)
	}
}

func (f fixture) start(id string) {
	f.t.Helper()
	f.update(func(tx store.Tx) error {
		return tx.AddTransaction(f.transaction(id), []store.Request{{Transaction: id, Device: "d", Compact: "jws-" + id}})
	})
}

// same fails the test unless a read brings what is wanted.
func same[T any](f fixture, want T, read func(store.Tx) (T, error)) {
	f.t.Helper()
	var got T
	err := f.View(context.Background(), func(tx store.Tx) (err error) {
		got, err = read(tx)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Fatal(diff)
	}
}

// missing fails the test unless a read finds nothing.
func missing[T any](f fixture, read func(store.Tx) (T, error)) {
	f.t.Helper()
	err := f.View(context.Background(), func(tx store.Tx) error {
		_, err := read(tx)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		f.t.Fatalf("got %v, want ErrNotFound", err)
	}
}

func testAtomic(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	boom := errors.New("boom")
	f.refused(boom, func(tx store.Tx) error { return errors.Join(tx.AddUser(store.User{Name: "bob"}), boom) })
	missing(f, func(tx store.Tx) (store.User, error) { return tx.User("bob") })
}

func testIsolatedFailures(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			name := string(rune('a'+i/2%25)) + string(rune('a'+i/50))
			err := s.Update(context.Background(), func(tx store.Tx) error { return tx.AddUser(store.User{Name: name}) })
			if err != nil && !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	same(f, 51, func(tx store.Tx) (int, error) {
		users, err := tx.Users()
		return len(users), err
	})
}

func testPanic(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	err := s.Update(context.Background(), func(tx store.Tx) error {
		_ = tx.AddUser(store.User{Name: "bob"})
		panic("boom")
	})
	if err == nil {
		t.Fatal("a panic is no error")
	}
	missing(f, func(tx store.Tx) (store.User, error) { return tx.User("bob") })
}

func testView(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	if s.View(context.Background(), func(tx store.Tx) error { return tx.AddUser(store.User{Name: "bob"}) }) == nil {
		t.Error("a view could add a user")
	}
	missing(f, func(tx store.Tx) (store.User, error) { return tx.User("bob") })
}

func testContext(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Update(ctx, func(tx store.Tx) error { return tx.AddUser(store.User{Name: "bob"}) }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	missing(f, func(tx store.Tx) (store.User, error) { return tx.User("bob") })
}

func testChanges(t *testing.T, s, other store.Store) {
	f := begin(t, s)
	changes := func() int64 {
		n, err := s.Changes(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := changes()
	f.update(func(tx store.Tx) error { return tx.SetLocked("alice", true) })
	if changes() != before {
		t.Error("a change of its own is news to the store")
	}
	err := other.Update(context.Background(), func(tx store.Tx) error { return tx.SetLocked("alice", false) })
	if err != nil {
		t.Fatal(err)
	}
	if changes() == before {
		t.Error("the store does not notice a change by another")
	}
	same(f, false, func(tx store.Tx) (bool, error) {
		u, err := tx.User("alice")
		return u.Locked, err
	})
}

func testClosed(t *testing.T, s, _ store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(context.Background(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if _, err := s.Changes(context.Background()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("changes: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

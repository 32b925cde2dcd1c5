package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/protocol"
)

// disk is what an outbox has stored.
type disk struct {
	mu      sync.Mutex
	entries map[uint64]state.Entry
	fail    error
}

func (d *disk) save(e state.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		d.entries[e.Seq] = e
	}
	return d.fail
}

func (d *disk) remove(seq uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.entries, seq)
	return nil
}

// start is an outbox on what the disk holds, as after a restart.
func (d *disk) start() *outbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []state.Entry
	for _, e := range d.entries {
		list = append(list, e)
	}
	return newOutbox(d.save, d.remove, list)
}

func newDisk() *disk { return &disk{entries: map[uint64]state.Entry{}} }

// signAs makes decisions that tell their own name and their parent's.
func signAs(name string) func(prev string) (string, error) {
	return func(prev string) (string, error) { return name + " after " + prev, nil }
}

func add(t *testing.T, o *outbox, name string) state.Entry {
	t.Helper()
	e, err := o.add(t.Context(), state.Entry{ID: name}, signAs(name))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// chained demands that each decision names the one before.
func chained(t *testing.T, entries []state.Entry) {
	t.Helper()
	prev := protocol.NoPrev
	for i, e := range entries {
		if e.Seq != uint64(i+1) || e.Decision != e.ID+" after "+prev {
			t.Fatalf("decision %d is number %d: %q", i+1, e.Seq, e.Decision)
		}
		prev = protocol.Hash([]byte(e.Decision))
	}
}

func TestOutboxChainsOverRestarts(t *testing.T) {
	d := newDisk()
	for i := range 5 {
		o := d.start()
		add(t, o, fmt.Sprint("a", i))
		add(t, o, fmt.Sprint("b", i))
	}
	chained(t, d.start().entries)
}

// TestOutboxChainsRefusedDecisions: ten are made before the first answer, which
// the server gives to all, a refusal to each second one, also to the last.
func TestOutboxChainsRefusedDecisions(t *testing.T) {
	d := newDisk()
	o := d.start()
	for i := range 10 {
		add(t, o, fmt.Sprint(i))
	}
	for i := range 10 {
		e, err := o.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.State = state.Delivered; i%2 == 1 {
			e.State = state.Refused
		}
		if err := o.answered(e, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	o = d.start()
	add(t, o, "after the refusals")
	chained(t, o.entries)
}

func TestOutboxChainsConcurrentDecisions(t *testing.T) {
	d := newDisk()
	o := d.start()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() { add(t, o, fmt.Sprint(i)) })
	}
	all.Wait()
	if len(o.entries) != 50 || len(d.entries) != 50 {
		t.Fatalf("%d decisions, %d on disk", len(o.entries), len(d.entries))
	}
	chained(t, o.entries)
}

// TestOutboxSendsNothingUnstored: what could not be written is not sent, and
// the chain goes on from what was.
func TestOutboxSendsNothingUnstored(t *testing.T) {
	d := newDisk()
	o := d.start()
	add(t, o, "first")
	d.fail = errors.New("disk full")
	if _, err := o.add(t.Context(), state.Entry{ID: "lost"}, signAs("lost")); !errors.Is(err, d.fail) {
		t.Errorf("got %v", err)
	}
	d.fail = nil
	if _, err := o.add(t.Context(), state.Entry{ID: "unsigned"}, func(string) (string, error) { return "", context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	add(t, o, "second")
	chained(t, o.entries)
	chained(t, d.start().entries)
}

// TestOutboxWaiterMayGiveUp: who waits for its turn holds nothing.
func TestOutboxWaiterMayGiveUp(t *testing.T) {
	o := newDisk().start()
	signing, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := o.add(context.Background(), state.Entry{ID: "slow"}, func(prev string) (string, error) {
			close(signing)
			<-release
			return signAs("slow")(prev)
		})
		done <- err
	}()
	<-signing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.add(ctx, state.Entry{ID: "impatient"}, signAs("impatient")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	chained(t, o.entries)
}

func TestOutboxInOrderOnce(t *testing.T) {
	d := newDisk()
	o := d.start()
	for i := range 3 {
		add(t, o, fmt.Sprint(i))
	}
	for i := range 3 {
		for range 2 { // asked again before it is answered, as after a failure
			if e, err := o.next(t.Context()); err != nil || e.ID != fmt.Sprint(i) {
				t.Fatalf("next is %q, %v, want %d", e.ID, err, i)
			}
		}
		e, _ := o.next(t.Context())
		e.State = state.Delivered
		told := 0
		if err := o.answered(e, func() { told++ }); err != nil || told != 1 || d.entries[e.Seq].State != state.Delivered {
			t.Fatalf("answered: %v, told %d times", err, told)
		}
		o = d.start()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an outbox with nothing to send: %v", err)
	}
}

func TestOutboxTellsNothingUnstored(t *testing.T) {
	d := newDisk()
	o := d.start()
	e := add(t, o, "a")
	e.State = state.Delivered
	d.fail = errors.New("disk full")
	if err := o.answered(e, func() { t.Error("an answer was told that is not stored") }); err == nil {
		t.Error("the failure was swallowed")
	}
	if next, err := o.next(t.Context()); err != nil || next.Seq != e.Seq {
		t.Errorf("it is not sent again: %v", err)
	}
}

func TestOutboxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newDisk().start()
		e := add(t, o, "a")
		short, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got := o.wait(short, e.Seq); got.State != state.Queued {
			t.Errorf("after the wait it is %s", got.State)
		}
		go func() {
			answer := e
			answer.State = state.Delivered
			_ = o.answered(answer, func() {})
		}()
		if got := o.wait(t.Context(), e.Seq); got.State != state.Delivered {
			t.Errorf("after the answer it is %s", got.State)
		}
		if got := o.wait(t.Context(), e.Seq); got.State != state.Delivered {
			t.Errorf("asked again it is %s", got.State)
		}
	})
}

func TestOutboxPrune(t *testing.T) {
	d := newDisk()
	o := d.start()
	for i := range maxEntries + 30 {
		e := add(t, o, fmt.Sprint(i))
		if i == 10 {
			continue // never answered
		}
		e.State = state.Delivered
		if err := o.answered(e, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.prune(); err != nil {
		t.Fatal(err)
	}
	if first := o.entries[0]; first.Seq != 11 || first.State != state.Queued {
		t.Errorf("the oldest kept is %d, want the unanswered 11", first.Seq)
	}
	e := o.entries[0]
	e.State = state.Refused
	if err := errors.Join(o.answered(e, func() {}), o.prune()); err != nil {
		t.Fatal(err)
	}
	prev, seq := o.head()
	if len(o.entries) != maxEntries || len(d.entries) != maxEntries || seq != maxEntries+31 {
		t.Errorf("%d kept, %d on disk, next is %d", len(o.entries), len(d.entries), seq)
	}
	if again, _ := d.start().head(); again != prev {
		t.Error("the chain's end is lost")
	}
}

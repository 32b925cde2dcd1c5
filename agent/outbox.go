package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"countersign/agent/state"
	"countersign/protocol"
)

// maxEntries is how many decisions a profile keeps as its history.
const maxEntries = 200

// outbox holds a profile's decisions in the order they were made. A decision
// is on disk before anybody may send it, and it stays there until the server
// has answered, through restarts.
type outbox struct {
	save   func(state.Entry) error
	remove func(seq uint64) error
	// turn lets one decision at a time be chained to the one before. It is a
	// channel and not a lock, since its holder waits for the chip and a waiter
	// may give up.
	turn chan struct{}

	mu      sync.Mutex
	entries []state.Entry            // by Seq
	done    map[uint64]chan struct{} // closed when the entry is answered
	queued  chan struct{}
}

func newOutbox(save func(state.Entry) error, remove func(uint64) error, entries []state.Entry) *outbox {
	o := &outbox{
		save: save, remove: remove, entries: entries,
		turn: make(chan struct{}, 1), done: map[uint64]chan struct{}{}, queued: make(chan struct{}, 1),
	}
	slices.SortFunc(o.entries, func(a, b state.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range o.entries {
		if e.State == state.Queued {
			o.done[e.Seq] = make(chan struct{})
		}
	}
	return o
}

// size is how many decisions it keeps.
func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries)
}

// add signs and stores one decision. The function sign gets the hash of the
// decision before. When add returns without error, the decision is durable
// and will be delivered; until sign returns, nothing has happened.
func (o *outbox) add(ctx context.Context, e state.Entry, sign func(prev string) (string, error)) (state.Entry, error) {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return state.Entry{}, context.Cause(ctx)
	}
	defer func() { <-o.turn }()
	prev, seq := o.head()
	compact, err := sign(prev)
	if err != nil {
		return state.Entry{}, err
	}
	e.Seq, e.Decision, e.State = seq, compact, state.Queued
	if err := o.save(e); err != nil {
		// It may be on disk all the same; nobody was told that it counts.
		return state.Entry{}, errors.Join(err, o.remove(seq))
	}
	o.mu.Lock()
	o.entries = append(o.entries, e)
	o.done[seq] = make(chan struct{})
	o.mu.Unlock()
	o.wake()
	return e, nil
}

// head is the end of the chain and the number after it.
func (o *outbox) head() (prev string, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.entries) == 0 {
		return protocol.NoPrev, 1
	}
	last := o.entries[len(o.entries)-1]
	return protocol.Hash([]byte(last.Decision)), last.Seq + 1
}

// next waits for the oldest decision that has no answer yet.
func (o *outbox) next(ctx context.Context) (state.Entry, error) {
	for {
		o.mu.Lock()
		i := slices.IndexFunc(o.entries, func(e state.Entry) bool { return e.State == state.Queued })
		var e state.Entry
		if i >= 0 {
			e = o.entries[i]
		}
		o.mu.Unlock()
		if i >= 0 {
			return e, nil
		}
		select {
		case <-o.queued:
		case <-ctx.Done():
			return state.Entry{}, ctx.Err()
		}
	}
}

// answered stores what the server said of a decision, durably, calls tell, and
// lets those go on who wait for it.
func (o *outbox) answered(e state.Entry, tell func()) error {
	if err := o.save(e); err != nil {
		return err
	}
	tell()
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.index(e.Seq); i >= 0 {
		o.entries[i] = e
	}
	if ch, ok := o.done[e.Seq]; ok {
		close(ch)
		delete(o.done, e.Seq)
	}
	return nil
}

// wait returns the entry once it is answered, or as it is when ctx ends.
func (o *outbox) wait(ctx context.Context, seq uint64) state.Entry {
	o.mu.Lock()
	ch := o.done[seq]
	o.mu.Unlock()
	if ch != nil {
		select {
		case <-ch:
		case <-ctx.Done():
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.index(seq); i >= 0 {
		return o.entries[i]
	}
	return state.Entry{}
}

// backlog counts the decisions without an answer.
func (o *outbox) backlog() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.done)
}

// drained waits until every decision that is made or being made by now has its
// answer.
func (o *outbox) drained(ctx context.Context) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.mu.Lock()
	waiting := slices.Collect(maps.Values(o.done))
	o.mu.Unlock()
	<-o.turn
	for _, ch := range waiting {
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// prune forgets old decisions beyond the history, never one without an answer
// and never the last, which is the chain's end.
func (o *outbox) prune() error {
	o.mu.Lock()
	var old []uint64
	for i := 0; i < len(o.entries)-maxEntries && o.entries[i].State != state.Queued; i++ {
		old = append(old, o.entries[i].Seq)
	}
	o.entries = slices.Delete(o.entries, 0, len(old))
	o.mu.Unlock()
	for _, seq := range old {
		if err := o.remove(seq); err != nil {
			return err
		}
	}
	return nil
}

// index expects o.mu held.
func (o *outbox) index(seq uint64) int {
	return slices.IndexFunc(o.entries, func(e state.Entry) bool { return e.Seq == seq })
}

func (o *outbox) wake() { poke(o.queued) }

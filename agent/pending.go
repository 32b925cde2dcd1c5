package agent

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

// Bounds of the list: what one profile may have waiting, and how many ended
// requests are remembered for "requests --all".
const (
	maxPending = 50
	maxHistory = 200
)

// Statuses of an item that are the agent's own; the others are
// protocol.State's.
const (
	statusPending     = string(protocol.StatePending)
	statusUnconfirmed = "unconfirmed"
)

// item is one request of one profile. Its fields but status, reason and
// claimed never change.
type item struct {
	profile  string
	uid      uint32
	compact  string
	req      *protocol.Request
	received time.Time
	// deadline is on CLOCK_BOOTTIME; nothing extends it.
	deadline time.Duration

	status string
	// claimed says that a decision is being made: nobody else makes one.
	// ended is what the server meanwhile said of the request.
	claimed bool
	ended   protocol.State
}

// pending is the list of what waits for a person, and of what lately ended.
type pending struct {
	now    func() time.Duration
	notify func(uid uint32, e ipc.Event)

	mu    sync.Mutex
	items []*item // in the order received
	woken chan struct{}
}

func newPending(now func() time.Duration, notify func(uint32, ipc.Event)) *pending {
	return &pending{now: now, notify: notify, woken: make(chan struct{}, 1)}
}

// restore brings back what the outbox remembers of a decided request.
func (l *pending) restore(profile string, uid uint32, req *protocol.Request, e state.Entry) {
	status := e.Status
	switch e.State {
	case state.Queued:
		status = statusUnconfirmed
	case state.Refused:
		if e.Code == protocol.ProblemWrongNumber && protocol.State(status) == protocol.StatePending {
			return // still open: the server will list it again
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, &item{profile: profile, uid: uid, compact: e.Request, req: req, received: e.ReceivedAt, status: status})
}

// add takes in a verified request, once. It reports whether it is new.
func (l *pending) add(it *item) bool {
	l.mu.Lock()
	if l.find(it.profile, it.req.ID) != nil || l.count(func(o *item) bool { return o.profile == it.profile && o.status == statusPending }) >= maxPending {
		l.mu.Unlock()
		return false
	}
	it.status = statusPending
	l.items = append(l.items, it)
	e := l.event(ipc.EventPending, it)
	l.prune()
	l.mu.Unlock()
	l.notify(it.uid, e)
	l.wake()
	return true
}

// missing lists the ids of a profile that are pending here and not in ids.
func (l *pending) missing(profile string, ids map[string]bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gone []string
	for _, it := range l.items {
		if it.profile == profile && it.status == statusPending && !ids[it.req.ID] {
			gone = append(gone, it.req.ID)
		}
	}
	return gone
}

// end gives a request that still waits its final status. One that is being
// decided, or was, keeps the status that decision brings.
func (l *pending) end(profile, id string, status protocol.State) {
	l.mu.Lock()
	it := l.find(profile, id)
	if it == nil || it.status != statusPending || it.claimed {
		if it != nil && it.claimed {
			it.ended = status
		}
		l.mu.Unlock()
		return
	}
	it.status = string(status)
	e := l.event(ipc.EventClosed, it)
	l.mu.Unlock()
	l.notify(it.uid, e)
}

// claim finds a pending request for deciding. The caller must settle it.
func (l *pending) claim(s ipc.Scope, id string) (*item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.visible(s, id)
	switch {
	case it == nil:
		return nil, errNoRequest(id)
	case it.status == statusPending && it.deadline <= l.now():
		return nil, errNotPending(string(protocol.StateExpired))
	case it.status != statusPending:
		return nil, errNotPending(it.status)
	case it.claimed:
		return nil, errNotPending("being decided elsewhere")
	}
	it.claimed = true
	return it, nil
}

// settle ends a claim with the status that came of it. A request that is
// pending again, and ended meanwhile, has ended.
func (l *pending) settle(it *item, status string) {
	l.mu.Lock()
	if it.claimed {
		it.claimed, it.status = false, status
	}
	ended := it.ended
	l.mu.Unlock()
	if status == statusPending && ended.Final() {
		l.end(it.profile, it.req.ID, ended)
	}
	l.wake()
}

// resolve gives a decided request the status that the server's answer brings.
func (l *pending) resolve(profile, id, status string) {
	l.mu.Lock()
	it := l.find(profile, id)
	if it != nil {
		it.claimed, it.status = false, status
	}
	l.mu.Unlock()
	if it != nil && status == statusPending {
		l.settle(it, status)
	}
}

// get returns a copy of one request, or nil.
func (l *pending) get(profile, id string) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.find(profile, id)
	if it == nil {
		return nil
	}
	snapshot := *it
	return &snapshot
}

// waiting counts what waits for a uid.
func (l *pending) waiting(covers func(uint32) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(func(it *item) bool { return covers(it.uid) && l.waits(it) })
}

// show returns one request within the scope.
func (l *pending) show(s ipc.Scope, id string) (*item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.visible(s, id)
	if it == nil {
		return nil, errNoRequest(id)
	}
	snapshot := *it
	return &snapshot, nil
}

// list returns the requests within the scope, oldest first: those that are
// pending, and with all the others too.
func (l *pending) list(s ipc.Scope, all bool) []ipc.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []ipc.Request{}
	for _, it := range l.items {
		if s.Covers(it.uid) && (all || l.waits(it)) {
			out = append(out, it.summary())
		}
	}
	slices.SortStableFunc(out, func(a, b ipc.Request) int { return cmp.Compare(a.ReceivedAt.UnixNano(), b.ReceivedAt.UnixNano()) })
	return out
}

// expire ends requests as their time comes, until ctx ends. Correctness does
// not hang on it: whoever reads the list compares deadlines too.
func (l *pending) expire(ctx context.Context) {
	for ctx.Err() == nil {
		next := time.Minute
		for _, due := range l.due(&next) {
			l.end(due.profile, due.req.ID, protocol.StateExpired)
		}
		timer, cancel := context.WithTimeout(ctx, next)
		select {
		case <-timer.Done():
		case <-l.woken:
		}
		cancel()
	}
}

// due lists what has expired and lowers next to when more will.
func (l *pending) due(next *time.Duration) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var list []*item
	for _, it := range l.items {
		if it.status != statusPending || it.claimed {
			continue
		}
		if it.deadline <= now {
			list = append(list, it)
		} else {
			*next = min(*next, it.deadline-now)
		}
	}
	return list
}

func (l *pending) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// The functions below expect l.mu held.

func (l *pending) waits(it *item) bool {
	return it.status == statusPending && it.deadline > l.now()
}

func (l *pending) find(profile, id string) *item {
	for _, it := range l.items {
		if it.profile == profile && it.req.ID == id {
			return it
		}
	}
	return nil
}

// visible prefers the one that still waits, where a uid has two profiles that
// were both asked.
func (l *pending) visible(s ipc.Scope, id string) *item {
	var found *item
	for _, it := range l.items {
		if it.req.ID == id && s.Covers(it.uid) && (found == nil || l.waits(it)) {
			found = it
		}
	}
	return found
}

func (l *pending) count(match func(*item) bool) (n int) {
	for _, it := range l.items {
		if match(it) {
			n++
		}
	}
	return n
}

func (l *pending) event(kind string, it *item) ipc.Event {
	sum := it.summary()
	return ipc.Event{Kind: kind, Request: &sum, Pending: l.count(func(o *item) bool { return o.uid == it.uid && l.waits(o) })}
}

// prune forgets the oldest ended requests.
func (l *pending) prune() {
	excess := l.count(func(it *item) bool { return protocol.State(it.status).Final() }) - maxHistory
	l.items = slices.DeleteFunc(l.items, func(it *item) bool {
		drop := excess > 0 && protocol.State(it.status).Final()
		if drop {
			excess--
		}
		return drop
	})
}

func (it *item) summary() ipc.Request {
	r := it.req
	return ipc.Request{
		ID: r.ID, Profile: it.profile,
		Client:  ipc.RelyingParty{ID: r.Client.ID, Name: r.Client.Name},
		Message: r.Message, Type: r.Type, Method: r.Method, Class: r.Class.String(),
		ReceivedAt: it.received.UTC(), ExpiresAt: time.Unix(r.ExpiresAt, 0).UTC(), Status: it.status,
	}
}

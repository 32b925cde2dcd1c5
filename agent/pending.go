package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

// maxHistory is how many ended requests are remembered for "requests --all".
const maxHistory = 200

// Statuses of an item that are the agent's own; the others are
// protocol.State's.
const (
	statusPending     = string(protocol.StatePending)
	statusUnconfirmed = "unconfirmed"
)

// item is one request of one profile. Its fields above status never change.
type item struct {
	profile  string
	uid      uint32
	compact  string
	req      *protocol.Request
	received time.Time
	// deadline is on CLOCK_BOOTTIME; nothing extends it. It is 0 for what was
	// decided in an earlier run, until the server lists that again.
	deadline time.Duration

	status string
	// stranger says that the person was verified and not recognized: from then
	// on the request takes the PIN.
	stranger bool
	// prompted says that somebody was prompted for it.
	prompted bool
	// claim is not 0 while a decision is being made: nobody else makes one.
	// ended is what the server meanwhile said of the request, and stop ends
	// what the decision waits for.
	claim uint64
	ended protocol.State
	stop  context.CancelFunc
}

// pending is the list of what waits for a person, and of what lately ended.
type pending struct {
	now    func() time.Duration
	notify func(uid uint32, e ipc.Event)
	// quiet is why nobody is prompted for a user's requests, or "", and ignored
	// is told of each request that somebody was prompted for and that ended
	// without a decision here.
	quiet   func(uid uint32) string
	ignored func(uid uint32)
	// ended is told how each request ended that was not decided here.
	ended func(protocol.State)

	mu     sync.Mutex // guards the two below; the functions are called with it held
	items  []*item    // in the order received
	claims uint64     // made so far
	woken  chan struct{}
}

func newPending(now func() time.Duration, notify func(uint32, ipc.Event)) *pending {
	return &pending{
		now: now, notify: notify, woken: make(chan struct{}, 1),
		quiet: func(uint32) string { return "" }, ignored: func(uint32) {}, ended: func(protocol.State) {},
	}
}

// restore brings back what the outbox remembers of a decided request.
func (l *pending) restore(profile string, uid uint32, req *protocol.Request, e state.Entry) {
	status := e.Status
	switch e.State {
	case state.Queued:
		status = statusUnconfirmed
	case state.Refused:
		if !protocol.State(status).Final() {
			return // still open: the server will list it again
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, &item{profile: profile, uid: uid, compact: e.Request, req: req, received: e.ReceivedAt, status: status})
	// Of several profiles only the wall clock says which was first.
	slices.SortStableFunc(l.items, func(a, b *item) int { return a.received.Compare(b.received) })
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
	defer l.mu.Unlock()
	it := l.find(profile, id)
	switch {
	case it == nil || it.status != statusPending:
	case it.claim != 0:
		it.ended = status
		if it.stop != nil {
			it.stop()
		}
	default:
		l.close(it, status)
	}
}

// claim finds a pending request for deciding. The caller must settle it with
// the number it gets, which is good for this claim only.
func (l *pending) claim(s ipc.Scope, id string) (*item, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.visible(s, id)
	switch {
	case it == nil:
		return nil, 0, errNoRequest(id)
	case it.status == statusPending && it.deadline <= l.now():
		return nil, 0, errNotPending(string(protocol.StateExpired))
	case it.status != statusPending:
		return nil, 0, errNotPending(it.status)
	case it.claim != 0:
		return nil, 0, errBusy()
	}
	l.claims++
	it.claim = l.claims
	return it, it.claim, nil
}

// still refuses where a claimed request ended since it was claimed.
func (l *pending) still(it *item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case it.deadline <= l.now():
		return errNotPending(string(protocol.StateExpired))
	case it.ended.Final():
		return errNotPending(string(it.ended))
	}
	return nil
}

// notRecognized remembers that who was at hand was not the owner.
func (l *pending) notRecognized(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it.stranger = true
}

// unrecognized reports whether somebody was not recognized for a request.
func (l *pending) unrecognized(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return it.stranger
}

// bound is ctx for as long as a claimed request has not ended: nobody is asked
// to touch a token for one that is over.
func (l *pending) bound(ctx context.Context, it *item) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, it.deadline-l.now())
	it.stop = cancel
	if it.ended.Final() {
		cancel()
	}
	return ctx, cancel
}

// settle ends a claim with the status that came of it. It does nothing where
// the server's answer was faster and ended the claim: the request may have got
// another one since.
func (l *pending) settle(it *item, claim uint64, status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it.claim == claim {
		l.release(it, status)
	}
}

// resolve gives a decided request the status that the server's answer brings.
func (l *pending) resolve(profile, id, status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it := l.find(profile, id); it != nil {
		l.release(it, status)
	}
}

// get returns what one request is, and whose.
func (l *pending) get(profile, id string) (sum ipc.Request, uid uint32, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.find(profile, id)
	if it == nil {
		return ipc.Request{}, 0, false
	}
	return l.summary(it), it.uid, true
}

// waiting counts what waits for a uid.
func (l *pending) waiting(covers func(uint32) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(func(it *item) bool { return covers(it.uid) && l.waits(it) })
}

// show returns one request within the scope, of which the caller reads only
// what never changes, and what it is now.
func (l *pending) show(s ipc.Scope, id string) (*item, ipc.Request, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.visible(s, id)
	if it == nil {
		return nil, ipc.Request{}, errNoRequest(id)
	}
	return it, l.summary(it), nil
}

// list returns the requests within the scope, oldest first: those that are
// pending, and with all the others too. What was received in this run stands in
// that order, whatever became of the wall clock meanwhile.
func (l *pending) list(s ipc.Scope, all bool) []ipc.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []ipc.Request{}
	for _, it := range l.items {
		if s.Covers(it.uid) && (all || l.waits(it)) {
			out = append(out, l.summary(it))
		}
	}
	return out
}

// expire ends requests as their time comes, until ctx ends. Correctness does
// not hang on it: whoever reads the list compares deadlines too.
func (l *pending) expire(ctx context.Context) {
	for ctx.Err() == nil {
		list, next := l.due()
		for _, it := range list {
			l.end(it.profile, it.req.ID, protocol.StateExpired)
		}
		doze(ctx, next, l.woken)
	}
}

// due lists what has expired, and says how long it takes until more may have:
// forever where nothing waits. Timers stand still in suspend, so it is else never
// long.
func (l *pending) due() (list []*item, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	next = forever
	for _, it := range l.items {
		if it.status != statusPending || it.claim != 0 {
			continue // whoever decides it wakes us
		}
		if it.deadline <= now {
			list = append(list, it)
		} else {
			next = min(next, it.deadline-now, time.Minute)
		}
	}
	return list, next
}

func (l *pending) wake() { poke(l.woken) }

// The functions below expect l.mu held.

// release ends a claim. A request that is pending again, and ended meanwhile,
// has ended. One of an earlier run that the server has not listed yet is
// forgotten, and comes back with its deadline.
func (l *pending) release(it *item, status string) {
	it.claim, it.status, it.stop = 0, status, nil
	if status == statusPending && it.deadline == 0 {
		l.items = slices.DeleteFunc(l.items, func(o *item) bool { return o == it })
		return
	}
	if status == statusPending && it.ended.Final() {
		l.close(it, it.ended)
	}
	l.wake()
}

// quietFor is why nobody is prompted for a request, or "". Who has just typed a
// code, or read it from a picture, waits for the prompt; a link anybody can send.
func (l *pending) quietFor(it *item) string {
	if it.req.Origin != "" && it.req.Origin != protocol.OriginLink {
		return ""
	}
	return l.quiet(it.uid)
}

// announce tells that a request waits. Where it is not quiet, somebody is
// prompted.
func (l *pending) announce(it *item) {
	it.prompted = it.prompted || l.quietFor(it) == ""
	l.notify(it.uid, l.event(ipc.EventPending, it))
}

// close gives a pending request its final status, and says so.
func (l *pending) close(it *item, status protocol.State) {
	it.status = string(status)
	if it.prompted {
		l.ignored(it.uid)
	}
	l.ended(status)
	l.notify(it.uid, l.event(ipc.EventClosed, it))
}

// classOf is the class of a request, 0 where it is not known any more.
func (l *pending) classOf(profile, id string) protocol.Class {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it := l.find(profile, id); it != nil {
		return it.req.Class
	}
	return 0
}

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
	sum := l.summary(it)
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

// summary is the request as the local API shows it. One whose time is over is
// not called pending, even where nothing has ended it yet.
func (l *pending) summary(it *item) ipc.Request {
	r, status, quiet := it.req, it.status, ""
	if status == statusPending && it.deadline <= l.now() {
		status = string(protocol.StateExpired)
	}
	if status == statusPending {
		quiet = l.quietFor(it)
	}
	return ipc.Request{
		ID: r.ID, Profile: it.profile,
		Client:  ipc.RelyingParty{ID: r.Client.ID, Name: r.Client.Name},
		Message: r.Message, Type: r.Type, Method: r.Method, Class: r.Class.String(),
		ReceivedAt: it.received.UTC(), ExpiresAt: time.Unix(r.ExpiresAt, 0).UTC(), Status: status, Quiet: quiet, Origin: r.Origin,
	}
}

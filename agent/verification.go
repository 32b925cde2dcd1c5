package agent

import (
	"context"
	"errors"
	"os/user"
	"strconv"
	"sync"
	"time"

	"countersign/agent/audit"
	"countersign/agent/verify"
	"countersign/ipc"
	"countersign/protocol"
)

const (
	// availableWait bounds how long a request is kept from being shown by the
	// question how its owner can be verified, and availableFor how long the
	// answer is good.
	availableWait = time.Second
	availableFor  = 5 * time.Second
)

// Means is how the service itself verifies a person where a method of the
// protocol asks for it.
type Means struct {
	// Name is one of ipc's Verify constants, and UV what decisions call it.
	Name, UV string
	verify.Verifier
}

// means returns how a request's owner is verified by the service itself. There
// is none where the request takes the PIN: because it is of class C2 or above
// here, because its method asks for nothing else, or because the person was not
// recognized before.
func (a *Agent) means(it *item) (Means, bool) {
	m, ok := a.cfg.Verifiers[it.req.Method]
	return m, ok && a.floor(it) < protocol.C2 && !a.pending.unrecognized(it)
}

// byService reports whether a method asks for somebody's word other than the
// chip's.
func byService(method string) bool {
	return method == protocol.MethodFingerprint || method == protocol.MethodCustom
}

// pinNeeded reports whether a request takes the PIN, whatever else is at hand.
func (a *Agent) pinNeeded(it *item) bool {
	_, ok := a.means(it)
	return a.floor(it) >= protocol.C2 || byService(it.req.Method) && !ok
}

// offer is how the caller can be verified for a request without the PIN, now; ""
// where that cannot be.
func (a *Agent) offer(ctx context.Context, s ipc.Scope, it *item) string {
	m, ok := a.means(it)
	if !ok || s.Peer.UID != it.uid || !a.availability.ask(ctx, m, subject(s.Peer)) {
		return ""
	}
	return m.Name
}

// subject names a caller to package verify.
func subject(p ipc.Peer) verify.Subject {
	s := verify.Subject{UID: p.UID, PID: p.PID, Started: p.Started, PIDFD: p.PIDFD()}
	if u, err := user.LookupId(strconv.FormatUint(uint64(p.UID), 10)); err == nil {
		s.User = u.Username
	}
	return s
}

// recognize has the person verified for one decision, where it says that they
// were. It holds nothing while it waits, and ends with the request.
func (a *Agent) recognize(ctx context.Context, s ipc.Scope, it *item, d *protocol.Decision) error {
	m, ok := a.cfg.Verifiers[it.req.Method]
	if !ok || d.Decision != protocol.Approve || d.UV.Method != m.UV {
		return nil
	}
	about := verify.Request{Client: it.req.Client.Name, Class: d.UV.Class.String(), Hash: d.Request}
	err := m.Verify(ctx, subject(s.Peer), about, func(hint string) { a.askPerson(it, hint) })
	if err == nil {
		return nil
	}
	if over := a.pending.still(it); over != nil {
		return over
	}
	if errors.Is(err, verify.ErrNoMatch) {
		a.pending.notRecognized(it)
		a.counts.unrecognized.Inc()
		a.note(unrecognized(it, m.UV))
	}
	a.cfg.Log.Info("a person was not verified", "request", it.req.ID, "means", m.Name, "error", err)
	return verifyError(err)
}

// askPerson tells the owner's helpers what the person should do.
func (a *Agent) askPerson(it *item, hint string) {
	if sum, uid, ok := a.pending.get(it.profile, it.req.ID); ok {
		a.publish(uid, ipc.Event{Kind: ipc.EventVerify, Request: &sum, Hint: hint, Pending: a.pending.waiting(func(other uint32) bool { return other == uid })})
	}
}

// unrecognized records that somebody was at hand, and was not the owner.
func unrecognized(it *item, means string) audit.Event {
	return audit.Event{
		Kind: recordUnrecognized, UID: &it.uid, Profile: it.profile, Request: it.req.ID, Client: it.req.Client.ID,
		Detail: map[string]string{"method": means},
	}
}

// verifyError puts a failed verification into words.
func verifyError(err error) error {
	const orPIN = "try again, or approve it with the PIN"
	if u, ok := errors.AsType[*verify.Unavailable](err); ok {
		cure := "approve it with the PIN"
		if u.Cure != "" {
			cure += ", or " + u.Cure
		}
		return ipc.Errorf(ipc.CodeVerifyUnavailable, cure, "you cannot be verified this way now: %s", u.Text)
	}
	switch {
	case errors.Is(err, verify.ErrNoMatch):
		return ipc.Errorf(ipc.CodeVerifyFailed, "approve it with the PIN", "you were not recognized")
	case errors.Is(err, verify.ErrDismissed):
		return ipc.Errorf(ipc.CodeVerifyDismissed, orPIN, "the question was dismissed")
	case errors.Is(err, verify.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ipc.Errorf(ipc.CodeVerifyTimeout, orPIN, "you were not verified in time")
	}
	return err
}

// availability remembers for a while who can be verified how. The zero value is
// ready.
type availability struct {
	mu    sync.Mutex // guards known; nobody is asked while it is held
	known map[availableKey]available
}

type availableKey struct {
	means string
	uid   uint32
}

type available struct {
	ok    bool
	until time.Time
}

// ask reports whether a person can be verified now. It waits for the answer a
// short while, and takes silence for a no.
func (v *availability) ask(ctx context.Context, m Means, s verify.Subject) bool {
	key := availableKey{m.Name, s.UID}
	v.mu.Lock()
	known, ok := v.known[key]
	v.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.ok
	}
	ctx, cancel := context.WithTimeout(ctx, availableWait)
	defer cancel()
	yes := m.Available(ctx, s) == nil
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = map[availableKey]available{}
	}
	v.known[key] = available{yes, time.Now().Add(availableFor)}
	return yes
}

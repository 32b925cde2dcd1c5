package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// deliver hands the outbox to the server, in order, until ctx ends. A decision
// that got no answer is sent again, the same bytes: the server gives the same
// answer to them, however often they come.
func (p *profile) deliver(ctx context.Context, client *upstream.Client) {
	log := p.agent.cfg.Log.With("profile", p.get().ID)
	var backoff upstream.Backoff
	for {
		e, err := p.outbox.next(ctx)
		if err != nil {
			return
		}
		accepted, err := client.Deliver(ctx, e.ID, e.Decision)
		e, err = p.judge(e, accepted, err)
		if err == nil {
			err = p.outbox.answered(e, func() { p.tell(e) })
		}
		if err == nil {
			if err := p.outbox.prune(); err != nil {
				log.Error("old decisions not removed", "error", err)
			}
			backoff.Reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if problem, ok := asProblem(err); ok && problem.Code == protocol.ProblemSuspended {
			p.Reached(err) // the poll would hear it later
		}
		pause := backoff.Pause()
		log.Warn("decision not delivered", "request", e.ID, "error", err, "again_in", pause)
		p.waitBack(ctx, pause)
	}
}

// waitBack waits for a while, or until the server is reached again.
func (p *profile) waitBack(ctx context.Context, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	select {
	case <-p.back:
	case <-ctx.Done():
	}
}

// judge reads the server's answer to a decision. An error means that there is
// no answer yet that can be believed.
func (p *profile) judge(e state.Entry, accepted protocol.Accepted, err error) (state.Entry, error) {
	if err == nil {
		return p.acknowledged(e, accepted.Receipt)
	}
	problem, ok := errors.AsType[*protocol.Problem](err)
	switch {
	case !ok || problem.Status >= http.StatusInternalServerError,
		problem.Status == http.StatusTooManyRequests, problem.Status == http.StatusUnauthorized, problem.Code == protocol.ProblemUnconfirmed,
		problem.Code == protocol.ProblemSuspended:
		return e, err
	case problem.Code == protocol.ProblemWrongNumber:
		return p.rejected(e, problem.Rejection)
	}
	e.State, e.Code, e.Status = state.Refused, problem.Code, string(problem.State)
	if !problem.State.Final() {
		// Nothing was decided by it: the person may decide again.
		e.Status = statusPending
	}
	return e, nil
}

// acknowledged checks the receipt: "sent" is said on nothing less.
func (p *profile) acknowledged(e state.Entry, compact string) (state.Entry, error) {
	receipt, err := protocol.ParseReceipt(compact, p.serverKeys())
	if err != nil {
		return e, err
	}
	s := p.get()
	// The decision's hash binds the receipt to the name that the decision was for.
	if !slices.Contains(s.Names(), receipt.Issuer) {
		return e, errNotForUs
	}
	if err := receipt.Acknowledges(e.Decision, &protocol.Decision{Issuer: s.Device, Audience: receipt.Issuer, ID: e.ID}); err != nil {
		return e, err
	}
	e.State, e.Receipt, e.Status = state.Delivered, compact, string(receipt.State)
	return e, nil
}

// rejected checks the signed word that the number was wrong.
func (p *profile) rejected(e state.Entry, compact string) (state.Entry, error) {
	r, err := protocol.ParseRejection(compact, p.serverKeys())
	if err != nil {
		return e, err
	}
	s := p.get()
	if !slices.Contains(s.Names(), r.Issuer) || r.Audience != s.Device || r.ID != e.ID || r.Code != protocol.ProblemWrongNumber || r.Decision != protocol.Hash([]byte(e.Decision)) {
		return e, errNotForUs
	}
	e.State, e.Code, e.TriesLeft, e.Status = state.Refused, protocol.ProblemWrongNumber, r.TriesLeft, string(r.State)
	return e, nil
}

// tell makes the outcome known: to the list, and to the helpers on the
// desktop. A refusal that leaves the request pending is for the caller who
// decided; the helpers are told that it waits again.
func (p *profile) tell(e state.Entry) {
	s := p.get()
	p.agent.counts.answer(e, p.agent.pending.classOf(s.ID, e.ID))
	p.agent.pending.resolve(s.ID, e.ID, e.Status)
	p.agent.cfg.Log.Info("decision answered", "profile", s.ID, "request", e.ID, "decision", e.Verb, "state", e.State, "status", e.Status, "code", e.Code)
	p.agent.note(answered(s, e))
	if e.Verb == protocol.Approve && e.Status == string(protocol.StateApproved) {
		p.agent.attention.calm(s.UID)
	}
	r, _ := result(e)
	event := p.agent.resultEvent(s.ID, e.ID, r)
	if event.Request != nil && event.Request.Status == statusPending {
		event.Kind, event.Result = ipc.EventPending, nil
	}
	p.agent.publish(s.UID, event)
}

func (a *Agent) publish(uid uint32, e ipc.Event) { a.events.publish(uid, e) }

func (a *Agent) resultEvent(profile, id string, r ipc.Result) ipc.Event {
	e := ipc.Event{Kind: ipc.EventResult, Result: &r}
	if sum, owner, ok := a.pending.get(profile, id); ok {
		e.Request = &sum
		e.Pending = a.pending.waiting(func(uid uint32) bool { return uid == owner })
	}
	return e
}

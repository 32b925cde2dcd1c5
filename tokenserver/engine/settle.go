package engine

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/policy"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// settle decides what an attempt leads to, alone with the database. What it
// refused is no error: the store keeps that the device made the decision.
func (e *Engine) settle(tx store.Tx, try *attempt) (a *Answer, refused, err error) {
	if a, err := answered(tx, try.device.ID, try.decision.ID, try.compact); a != nil || err != nil {
		return a, nil, err
	}
	d, err := Admit(tx, try.device.DeviceKey, true)
	if err != nil {
		return nil, nil, err
	}
	try.device = d
	// One look at the clock, lest the transaction be alive here and over below.
	now := e.now()
	if forked, err := e.link(tx, try, now); forked != nil || err != nil {
		return nil, forked, err
	}
	t, err := tx.Transaction(try.decision.ID)
	if err != nil {
		return nil, nil, err
	}
	refused, err = e.refusal(tx, try, seen(t, now), now)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	if try.decision.Decision == protocol.Approve && !sameNumber(try.decision.Number, t.Number) {
		a, err = e.reject(tx, try, t, instant(t, now))
	} else {
		a, err = e.accept(tx, try, t, instant(t, now))
	}
	return a, nil, err
}

// refusal says why a decision cannot count, as a problem, or is nil.
func (e *Engine) refusal(tx store.Tx, try *attempt, t store.Transaction, now time.Time) (refused, err error) {
	err = try.stillGood(tx, now)
	switch {
	case err != nil:
	case t.State.Final():
		err = alreadyDecided(t.State)
	default:
		err = e.allowed(tx, try, t, now)
	}
	if problem.From(err).Code == protocol.ProblemInternal {
		return nil, err
	}
	return err, nil
}

// allowed refuses an approval by a key that does not meet the policy of its type
// as it stands now, whatever it was when the transaction started. Who denies
// needs no such key.
func (e *Engine) allowed(tx store.Tx, try *attempt, t store.Transaction, now time.Time) error {
	if try.decision.Decision != protocol.Approve {
		return nil
	}
	typ, err := tx.Type(t.Type)
	if errors.Is(err, store.ErrNotFound) {
		return policyUnmet("there is no such type any more")
	}
	if err != nil {
		return err
	}
	if why := policy.Unmet(try.verdict, typ); why != "" {
		return policyUnmet(why)
	}
	return e.held(try.device, typ, now)
}

// sameNumber takes the same time for every number of the right length.
func sameNumber(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// accept ends the transaction as the person decided.
func (e *Engine) accept(tx store.Tx, try *attempt, t store.Transaction, now time.Time) (*Answer, error) {
	o := store.Outcome{State: protocol.StateApproved, At: now, Device: try.device.ID, Decision: try.hash}
	if try.decision.Decision == protocol.Deny {
		o.State, o.Reason = protocol.StateDenied, try.decision.Reason
	}
	receipt, err := protocol.SignReceipt(try.answer, &protocol.Receipt{
		Issuer: try.decision.Audience, Audience: try.device.ID, ID: t.ID, IssuedAt: now.Unix(),
		Decision: try.hash, State: o.State, Attestation: try.verdict,
	})
	if err != nil {
		return nil, fmt.Errorf("engine: receipt: %s", err.Error())
	}
	body, err := json.Marshal(protocol.Accepted{Receipt: receipt})
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if err := e.finish(tx, t, o); err != nil {
		return nil, err
	}
	if o.Reason == protocol.ReasonNotMe {
		if err := block(tx, try, t, now); err != nil {
			return nil, err
		}
	}
	a := &Answer{Status: http.StatusOK, Body: body}
	return a, e.keep(tx, try, a, receipt, now)
}

// reject uses up a try, and ends the transaction with the last.
func (e *Engine) reject(tx store.Tx, try *attempt, t store.Transaction, now time.Time) (*Answer, error) {
	tries, err := tx.UseTry(t.ID, MaxTries)
	if err != nil {
		return nil, fmt.Errorf("engine: use a try: %w", err)
	}
	left, state := MaxTries-tries, protocol.StatePending
	if left == 0 {
		state = protocol.StateFailed
		if err := e.finish(tx, t, store.Outcome{State: state, Reason: protocol.ProblemWrongNumber, At: now}); err != nil {
			return nil, err
		}
	}
	rejection, err := protocol.SignRejection(try.answer, &protocol.Rejection{
		Issuer: try.decision.Audience, Audience: try.device.ID, ID: t.ID, IssuedAt: now.Unix(),
		Decision: try.hash, Code: protocol.ProblemWrongNumber, TriesLeft: left, State: state,
	})
	if err != nil {
		return nil, fmt.Errorf("engine: rejection: %s", err.Error())
	}
	p := problem.New(protocol.ProblemWrongNumber, "the number is not the one that the relying party shows; tries left: %d", left)
	p.State, p.TriesLeft, p.Rejection = state, &left, rejection
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	ev := store.Event{At: now, Kind: "decision.wrong_number", User: t.User, Device: try.device.ID, Client: t.ClientID, Transaction: t.ID}
	if err := tx.AddEvent(ev); err != nil {
		return nil, err
	}
	a := &Answer{Status: p.Status, Body: body, Code: p.Code}
	return a, e.keep(tx, try, a, "", now)
}

// instant is now, but never before the transaction: evidence must not look as
// if it were, should the clock have been set back.
func instant(t store.Transaction, now time.Time) time.Time {
	if now.After(t.CreatedAt) {
		return now
	}
	return t.CreatedAt
}

// keep stores a decision with its answer.
func (e *Engine) keep(tx store.Tx, try *attempt, a *Answer, receipt string, now time.Time) error {
	return tx.AddDecision(store.Decision{
		Hash: try.hash, Device: try.device.ID, Transaction: try.decision.ID, Key: try.key, Compact: try.compact,
		Prev: try.decision.Prev, Status: a.Status, Answer: a.Body, Receipt: receipt, At: now,
	})
}

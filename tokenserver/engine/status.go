package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Status is where a transaction stands.
type Status struct {
	store.Transaction
	// Devices are those that are asked.
	Devices []string
	// Evidence is there once a device's decision made the state final.
	Evidence *protocol.Evidence
}

// Status returns where a client's transaction stands; another's is not found.
func (e *Engine) Status(ctx context.Context, client, id string) (s *Status, err error) {
	err = e.store.View(ctx, func(tx store.Tx) error {
		s, err = e.status(tx, client, id)
		return err
	})
	return s, err
}

func (e *Engine) status(tx store.Tx, client, id string) (*Status, error) {
	t, err := transaction(tx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.ClientID != client {
		return nil, problem.New(protocol.ProblemNotFound, "there is no such transaction")
	}
	if err != nil {
		return nil, err
	}
	s := &Status{Transaction: seen(t, e.now())}
	if s.Devices, err = tx.Addressed(id); err != nil {
		return nil, err
	}
	if t.Decision != "" {
		s.Evidence, err = e.evidence(tx, t)
	}
	return s, err
}

// seen is the transaction as it stands now, whether or not the sweeper has
// been there.
func seen(t store.Transaction, now time.Time) store.Transaction {
	if t.State == protocol.StatePending && over(t, now) {
		t.State, t.DecidedAt = protocol.StateExpired, t.ExpiresAt
	}
	return t
}

func (e *Engine) evidence(tx store.Tx, t store.Transaction) (*protocol.Evidence, error) {
	request, err := tx.Request(t.ID, t.DecidedBy)
	if err != nil {
		return nil, fmt.Errorf("engine: evidence: %w", err)
	}
	d, err := tx.Decision(t.DecidedBy, t.Decision)
	if err != nil {
		return nil, fmt.Errorf("engine: evidence: %w", err)
	}
	device, err := store.One(tx.Devices(store.DeviceFilter{ID: d.Device}))
	if err != nil {
		return nil, fmt.Errorf("engine: evidence: %w", err)
	}
	keys, err := e.pki.AllIssuerKeys()
	if err != nil {
		return nil, err
	}
	receipt, err := protocol.ParseReceipt(d.Receipt, keys)
	if err != nil {
		return nil, fmt.Errorf("engine: evidence: %w", err)
	}
	chain, err := chainOf(tx, device, d.Key)
	if err != nil {
		return nil, err
	}
	kid, err := protocol.KeyID(d.Receipt)
	if err != nil {
		return nil, fmt.Errorf("engine: evidence: %w", err)
	}
	issuer, err := e.pki.IssuerChain(kid, time.Unix(receipt.IssuedAt, 0))
	if err != nil {
		return nil, err
	}
	return &protocol.Evidence{
		Request: request.Compact, Decision: d.Compact, Receipt: d.Receipt,
		Certificates: pki.PEM(chain), IssuerCertificates: issuer, Attestation: receipt.Attestation,
	}, nil
}

// Cancel ends a client's transaction. One that has ended already is refused
// with its state.
func (e *Engine) Cancel(ctx context.Context, client, id string) (s *Status, err error) {
	err = e.store.Update(ctx, func(tx store.Tx) error {
		if s, err = e.status(tx, client, id); err != nil {
			return err
		}
		if s.State.Final() {
			return alreadyDecided(s.State)
		}
		if err := e.finish(tx, s.Transaction, store.Outcome{State: protocol.StateCancelled, At: e.now()}); err != nil {
			return err
		}
		s, err = e.status(tx, client, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.wake(id, s.Devices)
	return s, nil
}

// finish makes a pending transaction final and records it.
func (e *Engine) finish(tx store.Tx, t store.Transaction, o store.Outcome) error {
	var err error
	if t.User == "" { // an offer that nobody redeemed
		err = tx.EndOffer(t.ID, o.State, o.At)
	} else {
		err = tx.Finish(t.ID, o)
	}
	if errors.Is(err, store.ErrConflict) {
		// Nobody can have come between: whoever updates is alone.
		return fmt.Errorf("engine: the transaction has left its state: %w", err)
	}
	if err != nil {
		return err
	}
	return tx.AddEvent(store.Event{
		At: o.At, Kind: "transaction." + string(o.State), User: t.User, Device: o.Device,
		Client: t.ClientID, Transaction: t.ID, Detail: o.Reason,
	})
}

func alreadyDecided(s protocol.State) *protocol.Problem {
	p := problem.New(protocol.ProblemAlreadyDecided, "the transaction is already %s", s)
	p.State = s
	return p
}

package engine

import (
	"context"
	"errors"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Pending returns what the device with this key is asked now.
func (e *Engine) Pending(ctx context.Context, key string) (requests []store.Request, err error) {
	err = e.store.View(ctx, func(tx store.Tx) error {
		d, err := Admit(tx, key, true)
		if err != nil {
			return err
		}
		requests, err = tx.Pending(d.User, d.ID, e.now())
		return err
	})
	return requests, err
}

// RequestState returns where a transaction stands that the device is or was
// asked about.
func (e *Engine) RequestState(ctx context.Context, key, transaction string) (s protocol.RequestState, err error) {
	err = e.store.View(ctx, func(tx store.Tx) error {
		d, err := Admit(tx, key, true)
		if err != nil {
			return err
		}
		if _, err := requestOf(tx, transaction, d.ID); err != nil {
			return err
		}
		t, err := tx.Transaction(transaction)
		s = protocol.RequestState{ID: transaction, State: seen(t, e.now()).State}
		return err
	})
	return s, err
}

func requestOf(tx store.Tx, transaction, device string) (store.Request, error) {
	r, err := tx.Request(transaction, device)
	if errors.Is(err, store.ErrNotFound) {
		return r, problem.New(protocol.ProblemNotFound, "this device has no such request")
	}
	return r, err
}

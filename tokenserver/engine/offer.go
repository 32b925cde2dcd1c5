package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"countersign/internal/secret"
	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Offer begins a transaction without a user: whoever redeems its code on a
// device of theirs is asked. The code is told once, here, and stored hashed.
func (e *Engine) Offer(ctx context.Context, client store.Client, s Start) (*Status, secret.Value, error) {
	var typ store.Type
	err := e.store.View(ctx, func(tx store.Tx) (err error) {
		typ, err = typeOf(tx, s.Type)
		return err
	})
	if err != nil {
		return nil, secret.Value{}, err
	}
	if typ.Method != protocol.MethodOTP {
		return nil, secret.Value{}, problem.New(problem.UserUnknown, "the user is missing: only a type of method otp is started without one")
	}
	if s.Context == nil {
		return nil, secret.Value{}, problem.New(problem.ContextRequired, "the person must see where the wish came from: give a context")
	}
	t, err := e.newTransaction(client, s, typ)
	if err != nil {
		return nil, secret.Value{}, err
	}
	// What could not be signed for anybody is refused now, not when somebody is
	// there to redeem it.
	if _, err := e.request(t, s, typ, store.Device{ID: "d", Profile: "p"}, protocol.OriginTyped); err != nil {
		return nil, secret.Value{}, err
	}
	code := rand.Text() // 130 bits
	o := store.Offer{
		ID: t.ID, ClientID: t.ClientID, ClientName: t.ClientName, Type: t.Type, Method: t.Method, Class: t.Class, Number: t.Number,
		Code: store.HashSecret(code), Content: store.Content{Message: s.Message, Details: s.Details, Context: s.Context, SigningData: s.SigningData},
		State: protocol.StatePending, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
	}
	err = e.store.Update(ctx, func(tx store.Tx) error {
		if err := tx.AddOffer(o); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: t.CreatedAt, Kind: "transaction.offered", Client: t.ClientID, Transaction: t.ID, Detail: t.Type})
	})
	if err != nil {
		return nil, secret.Value{}, fmt.Errorf("engine: offer: %w", err)
	}
	return &Status{Transaction: t}, secret.New([]byte(code)), nil
}

func typeOf(tx store.Tx, name string) (store.Type, error) {
	typ, err := tx.Type(name)
	if errors.Is(err, store.ErrNotFound) {
		return typ, problem.New(problem.TypeUnknown, "there is no transaction type of this name")
	}
	return typ, err
}

// offered is an offer as the transaction that it would be.
func offered(o store.Offer) store.Transaction {
	return store.Transaction{
		ID: o.ID, ClientID: o.ClientID, ClientName: o.ClientName, Type: o.Type, Method: o.Method, Class: o.Class, Number: o.Number,
		State: o.State, CreatedAt: o.CreatedAt, ExpiresAt: o.ExpiresAt, DecidedAt: o.EndedAt,
	}
}

// transaction finds a transaction, or the offer that is to become one.
func transaction(tx store.Tx, id string) (store.Transaction, error) {
	t, err := tx.Transaction(id)
	if !errors.Is(err, store.ErrNotFound) {
		return t, err
	}
	o, err := tx.Offer(id)
	return offered(o), err
}

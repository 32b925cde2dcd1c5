package engine

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Answer is what a decision is answered with: an HTTP status and a JSON body,
// always the same bytes for the same decision.
type Answer struct {
	Status int
	Body   []byte
	// Code is the refusal's, or "" for an accepted decision.
	Code string
}

// attempt is a decision that is well made and about the device's own request.
type attempt struct {
	device   store.Device
	compact  string
	hash     string
	key      string
	decision *protocol.Decision
	// verdict is that on the key which signed.
	verdict protocol.Verdict
	// answer signs what the decision is answered with.
	answer crypto.Signer
}

// Decide takes a decision of the device with this key. A wrong number is an
// Answer; every other refusal, *protocol.Problem or *protocol.Error, changes
// nothing.
func (e *Engine) Decide(ctx context.Context, deviceKey, transaction, compact string) (a *Answer, err error) {
	var try *attempt
	err = e.store.View(ctx, func(tx store.Tx) error {
		d, refused := Admit(tx, deviceKey, true)
		if d.ID == "" {
			return refused
		}
		// What was answered is answered again, whatever became of the device.
		if a, err = answered(tx, d.ID, transaction, compact); a != nil || err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
		try, err = e.examine(tx, d, transaction, compact)
		return err
	})
	if a != nil || err != nil {
		return a, err
	}
	var devices []string
	var refused error
	err = e.store.Update(ctx, func(tx store.Tx) error {
		// A refusal too is kept in the device's chain.
		if a, refused, err = e.settle(tx, try); err != nil {
			return err
		}
		devices, err = tx.Addressed(transaction)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.wake(transaction, devices)
	return a, refused
}

// answered returns the answer that these bytes got before, or nil.
func answered(tx store.Tx, device, transaction, compact string) (*Answer, error) {
	d, err := tx.Decision(device, protocol.Hash([]byte(compact)))
	if errors.Is(err, store.ErrNotFound) || err == nil && d.Transaction != transaction {
		return nil, nil //nolint:nilnil // no answer yet
	}
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: d.Status, Body: d.Answer}
	if d.Status != http.StatusOK {
		a.Code = protocol.ProblemWrongNumber
	}
	return a, nil
}

// examine checks everything about a decision that time cannot change.
func (e *Engine) examine(tx store.Tx, d store.Device, transaction, compact string) (*attempt, error) {
	request, err := requestOf(tx, transaction, d.ID)
	if err != nil {
		return nil, err
	}
	ring, err := keyring(tx, d)
	if err != nil {
		return nil, err
	}
	decision, err := protocol.ParseDecision(compact, ring.keys())
	if err != nil {
		return nil, err
	}
	kid, err := protocol.KeyID(compact)
	if err != nil {
		return nil, err
	}
	if err := ring[kid].info.MaySign(decision); err != nil {
		return nil, problem.New(protocol.ProblemRoleForbidden, "the key may not sign this decision")
	}
	keys, err := e.pki.AllIssuerKeys()
	if err != nil {
		return nil, err
	}
	r, err := protocol.ParseRequest(request.Compact, keys)
	if err != nil {
		return nil, fmt.Errorf("engine: stored request: %s", err.Error())
	}
	if err := decision.Answers(request.Compact, r); err != nil {
		return nil, err
	}
	answer, err := e.signerOf(request.Compact)
	return &attempt{d, compact, protocol.Hash([]byte(compact)), kid, decision, ring[kid].verdict, answer}, err
}

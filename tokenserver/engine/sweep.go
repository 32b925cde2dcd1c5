package engine

import (
	"context"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/store"
)

// sweepBatch bounds how long a sweep holds up others.
const sweepBatch = 200

// Sweep records what has expired and wakes who waits for it.
func (e *Engine) Sweep(ctx context.Context) error {
	for {
		var due []string
		err := e.store.View(ctx, func(tx store.Tx) (err error) {
			if due, err = tx.Overdue(e.now(), sweepBatch); err != nil || len(due) > 0 {
				return err
			}
			due, err = tx.OverdueOffers(e.now(), sweepBatch)
			return err
		})
		if err != nil || len(due) == 0 {
			return err
		}
		if err := e.sweep(ctx, due); err != nil {
			return err
		}
	}
}

func (e *Engine) sweep(ctx context.Context, due []string) error {
	var topics []string
	err := e.store.Update(ctx, func(tx store.Tx) error {
		topics = nil
		for _, id := range due {
			devices, err := e.expire(tx, id)
			if err != nil {
				return err
			}
			topics = append(append(topics, fanout.Transaction(id)), devices...)
		}
		return nil
	})
	e.hub.Publish(topics...)
	return err
}

// expire makes an overdue transaction final and returns its devices' topics.
func (e *Engine) expire(tx store.Tx, id string) ([]string, error) {
	t, err := transaction(tx, id)
	if err != nil || t.State.Final() {
		return nil, err
	}
	if err := e.finish(tx, t, store.Outcome{State: protocol.StateExpired, At: t.ExpiresAt}); err != nil {
		return nil, err
	}
	devices, err := tx.Addressed(id)
	for i, d := range devices {
		devices[i] = fanout.Device(d)
	}
	return devices, err
}

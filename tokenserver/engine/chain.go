package engine

import (
	"errors"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

// link puts a decision into its device's chain. Two different ones in one place
// were made by two devices with the same keys or by one that was set back: the
// device is suspended then, and forked says so. It is for whoever looks after
// it to find out which.
//
// A device chains over decisions that were refused too, which is why all that
// are well signed are linked. One that the server never saw, because it was lost
// with a device's outbox, leaves a gap; that is recorded and no more, since it
// harms nobody but the device.
func (e *Engine) link(tx store.Tx, try *attempt, now time.Time) (forked, err error) {
	d := try.decision
	if d.Prev != protocol.NoPrev {
		known, err := tx.Linked(try.device.ID, d.Prev)
		if err != nil {
			return nil, err
		}
		if !known {
			if err := tx.AddEvent(try.event("decision.gap", d.Prev, now)); err != nil {
				return nil, err
			}
		}
	}
	err = tx.Link(try.device.ID, d.Prev, try.hash, now)
	if !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	if err := tx.SuspendDevice(try.device.ID, store.SuspendedForked); err != nil {
		return nil, err
	}
	return Suspended(store.SuspendedForked), errors.Join(
		tx.AddEvent(try.event("decision.forked", try.hash, now)),
		tx.AddEvent(try.event("device.suspended", store.SuspendedForked, now)),
	)
}

func (a *attempt) event(kind, detail string, now time.Time) store.Event {
	return store.Event{At: now, Kind: kind, User: a.device.User, Device: a.device.ID, Transaction: a.decision.ID, Detail: detail}
}

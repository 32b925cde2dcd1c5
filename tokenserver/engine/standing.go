package engine

import (
	"context"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// block keeps a relying party from asking a device whose person said that a
// request of it was not theirs: what else of it is pending there is not listed
// any more, and ends with its time.
func block(tx store.Tx, try *attempt, t store.Transaction, now time.Time) error {
	if err := tx.AddBlock(store.Block{Device: try.device.ID, Client: t.ClientID, At: now}); err != nil {
		return err
	}
	ev := try.event("client.blocked", "", now)
	ev.Client = t.ClientID
	return tx.AddEvent(ev)
}

// Blocks returns the relying parties that may not ask the device with this key.
func (e *Engine) Blocks(ctx context.Context, key string) (out protocol.Blocks, err error) {
	out.Clients = []protocol.Client{}
	err = e.store.View(ctx, func(tx store.Tx) error {
		d, err := Admit(tx, key, true)
		if err != nil {
			return err
		}
		blocks, err := tx.Blocks(store.BlockFilter{Device: d.ID})
		for _, b := range blocks {
			out.Clients = append(out.Clients, protocol.Client{ID: b.Client, Name: b.ClientName})
		}
		return err
	})
	return out, err
}

// Unblock lets a relying party ask the device with this key again, whether or
// not it could.
func (e *Engine) Unblock(ctx context.Context, key, client string) error {
	var d store.Device
	err := e.store.Update(ctx, func(tx store.Tx) (err error) {
		if d, err = Admit(tx, key, true); err != nil {
			return err
		}
		return Unblock(tx, d, client, e.now())
	})
	if err == nil {
		e.wake("", []string{d.ID})
	}
	return err
}

// Unblock lifts a block and records it, where there is one.
func Unblock(tx store.Tx, d store.Device, client string, now time.Time) error {
	was, err := tx.RemoveBlock(d.ID, client)
	if err != nil || !was {
		return err
	}
	return tx.AddEvent(store.Event{At: now, Kind: "client.unblocked", User: d.User, Device: d.ID, Client: client})
}

// maxQuiet is how long a device may ask to be left in peace.
const maxQuiet = 24 * time.Hour

// SetQuiet remembers that the device with this key prompts for nothing until a
// time. It is asked all the same: the person may look at what waits.
func (e *Engine) SetQuiet(ctx context.Context, key string, q protocol.Quiet) error {
	now := e.now()
	until := time.Unix(q.Until, 0)
	switch {
	case q.Until == 0 && q.Reason == "":
		until = time.Time{}
	case q.Reason != protocol.QuietMuted && q.Reason != protocol.QuietTooMany:
		return problem.New(protocol.ProblemBadRequest, "reason is unknown, or missing beside until")
	case q.Until < 0 || until.After(now.Add(maxQuiet)):
		return problem.New(protocol.ProblemBadRequest, "until is over %v ahead", maxQuiet)
	}
	return e.store.Update(ctx, func(tx store.Tx) error {
		d, err := Admit(tx, key, true)
		if err != nil {
			return err
		}
		if err := tx.SetQuiet(d.ID, until, q.Reason); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: now, Kind: "device.quiet", User: d.User, Device: d.ID, Detail: q.Reason})
	})
}

package enroll

import (
	"context"
	"errors"

	"countersign/tokenserver/store"
)

// Suspend holds a device off until Resume: it is asked nothing and its decisions
// do not count. One that is suspended already stays so for its first reason.
func (k *Desk) Suspend(ctx context.Context, device string) (store.Device, error) {
	return k.hold(ctx, device, store.SuspendedOperator, "device.suspended")
}

// Resume lets a suspended device go on.
func (k *Desk) Resume(ctx context.Context, device string) (store.Device, error) {
	return k.hold(ctx, device, "", "device.resumed")
}

func (k *Desk) hold(ctx context.Context, device, reason, kind string) (d store.Device, err error) {
	err = k.Store.Update(ctx, func(tx store.Tx) error {
		if d, err = findDevice(tx, "", device); err != nil {
			return err
		}
		err = tx.SuspendDevice(d.ID, reason)
		if errors.Is(err, store.ErrConflict) {
			return nil // it is so already
		}
		if err != nil {
			return err
		}
		d.Suspended = reason
		return tx.AddEvent(store.Event{At: k.Now(), Kind: kind, User: d.User, Device: d.ID, Detail: reason})
	})
	if err == nil {
		publish(k.Hub, []string{d.ID})
	}
	return d, err
}

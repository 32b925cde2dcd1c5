package admin

import (
	"context"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

// Behind returns the devices that would not know the server any more if all that it
// published before the statement with the number seq were gone, and how many devices
// there are.
func (o *Office) Behind(ctx context.Context, seq int64) (behind []store.Device, all int, err error) {
	devices, err := o.living(ctx)
	for _, d := range devices {
		if d.TrustSeq < seq {
			behind = append(behind, d)
		}
	}
	return behind, len(devices), err
}

// Certified returns the devices with a certificate of which f is true.
func (o *Office) Certified(ctx context.Context, f func(chain [][]byte) bool) (found []store.Device, all int, err error) {
	devices, err := o.living(ctx)
	for _, d := range devices {
		if f(d.DeviceChain) || f(d.ApprovalChain) {
			found = append(found, d)
		}
	}
	return found, len(devices), err
}

// LastLearned is when the last device came to keep the statement with the number
// seq or a newer one; the zero time where none does.
func (o *Office) LastLearned(ctx context.Context, seq int64) (last time.Time, err error) {
	devices, err := o.living(ctx)
	for _, d := range devices {
		if d.TrustSeq >= seq && d.TrustAt.After(last) {
			last = d.TrustAt
		}
	}
	return last, err
}

func (o *Office) living(ctx context.Context) (devices []store.Device, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		devices, err = tx.Devices(store.DeviceFilter{States: []store.DeviceState{store.DeviceActive, store.DeviceUnconfirmed}})
		if err != nil {
			return err
		}
		machines, err := tx.Machines(store.MachineFilter{})
		for _, m := range machines {
			if m.State == store.MachineActive {
				devices = append(devices, asDevice(m))
			}
		}
		return err
	})
	return devices, err
}

// asDevice is what a machine has in common with a device: it knows the server, and
// has a certificate.
func asDevice(m store.Machine) store.Device {
	return store.Device{
		ID: m.ID, State: store.DeviceActive, TrustSeq: m.TrustSeq, TrustAt: m.TrustAt, DeviceChain: m.Chain,
		Facts: protocol.DeviceFacts{Name: m.Facts.Name, Platform: m.Facts.Platform, Agent: m.Facts.Agent},
	}
}

// ChangeTrust changes names or keys of the server, and not unless the audit trail can
// say so.
func (o *Office) ChangeTrust(ctx context.Context, kind, detail string, do func() error) error {
	return o.change(ctx, kind, detail, do)
}

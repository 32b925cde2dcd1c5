package admin

import (
	"context"

	"countersign/tokenserver/roots"
	"countersign/tokenserver/store"
)

// AddRoots trusts the CA certificates of a file, PEM or DER, from the next
// enrollment on. It returns them all.
func (o *Office) AddRoots(ctx context.Context, dir roots.Dir, file []byte) ([]roots.Root, error) {
	found, err := roots.Parse(file, o.Now())
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		err := o.change(ctx, "attestation.root_added", r.Fingerprint, func() error { return dir.Add(r) })
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RemoveRoot trusts the certificate with this fingerprint no more. Devices that
// it let in stay.
func (o *Office) RemoveRoot(ctx context.Context, dir roots.Dir, fingerprint string) error {
	return o.change(ctx, "attestation.root_removed", fingerprint, func() error { return dir.Remove(fingerprint) })
}

// change does something outside of the database, and not unless the audit trail
// can say so.
func (o *Office) change(ctx context.Context, kind, detail string, do func() error) error {
	return o.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.AddEvent(store.Event{At: o.Now(), Kind: kind, Detail: detail}); err != nil {
			return err
		}
		return do()
	})
}

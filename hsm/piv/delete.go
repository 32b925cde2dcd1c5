//go:build cgo

package piv

import (
	"context"
	"fmt"

	"countersign/hsm"
)

// Delete implements hsm.Key. It takes the management key, or the PIN where the
// token keeps it under that, unless there is nothing left to delete.
//
// Firmware before 5.7 cannot delete a key. There the key is destroyed by
// generating another in its place, and a placeholder says that the slot may be
// filled again.
func (k *key) Delete(ctx context.Context, auth hsm.Auth) error {
	err := checkAuth(auth)
	if err == nil {
		own, wipe := ownAuth(auth)
		err = k.provider.link.do(ctx, func(v *visit) error {
			v.last = wipe
			return v.clean(k.serial, own, func(a *applet) (bool, error) {
				key, err := a.slotKey(k.slot)
				return key != nil && key.Equal(k.public), err
			}, k.slot)
		})
	}
	if err != nil {
		return fmt.Errorf("piv: delete a key: %w", err)
	}
	return nil
}

// Release implements hsm.Provider. A token lets nobody but a person remove
// anything, so where something is left, the person is asked for.
func (p *Provider) Release(ctx context.Context, reservation []byte) error {
	return p.Reclaim(ctx, reservation, hsm.Auth{})
}

// Reclaim implements hsm.Reclaimer. It looks for the placeholder that Create
// wrote under the reservation and touches nothing where it is not.
func (p *Provider) Reclaim(ctx context.Context, encoded []byte, auth hsm.Auth) error {
	r, err := decodeReservation(encoded)
	if err == nil {
		err = checkAuth(auth)
	}
	if err == nil {
		own, wipe := ownAuth(auth)
		err = p.link.do(ctx, func(v *visit) error {
			v.last = wipe
			return v.clean(r.serial, own, r.isThere, r.slot)
		})
	}
	if err != nil {
		return fmt.Errorf("piv: release: %w", err)
	}
	return nil
}

func (r *reservation) isThere(a *applet) (bool, error) {
	c, err := a.certificate(r.slot)
	return isMarker(c, r.nonce), err
}

// clean empties a slot where it holds what is looked for.
func (v *visit) clean(serial uint32, auth hsm.Auth, isThere func(*applet) (bool, error), slot byte) error {
	var there, protected bool
	err := v.withSharedToken(serial, leaveCard, func(a *applet) (err error) {
		if there, err = isThere(a); err == nil && there {
			protected, err = a.keepsKeyUnderPIN()
		}
		return err
	})
	if err != nil || !there {
		return err
	}
	if auth.Admin.Empty() && auth.PIN.Empty() && protected {
		return fmt.Errorf("%w: the token keeps its management key under it", hsm.ErrPINRequired)
	}
	var admin []byte
	err = v.withToken(serial, func(t *token) (err error) {
		admin, err = t.managementKey(auth)
		return err
	})
	if err != nil {
		return err
	}
	return v.vacate(serial, slot, admin, isThere)
}

// erase takes back a Create.
func (v *visit) erase(r *reservation, admin []byte) error {
	return v.vacate(r.serial, r.slot, admin, r.isThere)
}

// vacate empties a slot, if what is looked for is still there now that nobody
// else is at the card. The placeholder goes last, so that what breaks off can
// be taken up again.
func (v *visit) vacate(serial uint32, slot byte, admin []byte, isThere func(*applet) (bool, error)) error {
	defer clear(admin)
	return v.withSharedToken(serial, resetCard, func(a *applet) error {
		if there, err := isThere(a); err != nil || !there {
			return err
		}
		if err := a.authenticate(admin); err != nil {
			return err
		}
		return a.vacate(slot)
	})
}

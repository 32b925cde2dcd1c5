//go:build cgo

package piv

import (
	"errors"

	"countersign/hsm"
)

// refuseFactory refuses a token whose PIN, PUK or management key everybody
// knows. It spends no try of anything.
//
// From firmware 5.3 on the token tells. Before, the management key is tried,
// since nobody counts those tries, and a PIN shows when the person brings the
// factory's. The PUK cannot be asked about without spending one of its tries,
// which only the right PUK gives back; it is left unasked, and Status says so.
func (v *visit) refuseFactory(where found, t hsm.Template) error {
	keyIsGoing := t.KeepAdmin && !t.Admin.Empty()
	if !where.firmware.hasMetadata() {
		return v.refuseOldFactory(where, t, keyIsGoing)
	}
	return v.withSharedToken(where.serial, leaveCard, func(a *applet) error {
		for _, it := range a.factoryErrors() {
			m, err := a.metadata(it.reference)
			if err != nil {
				return err
			}
			if m.factory && (it.reference != refManagement || !keyIsGoing) {
				return it.err
			}
		}
		return nil
	})
}

// factoryError is what to say where a value is the factory's.
type factoryError struct {
	reference byte
	err       error
}

func (a *applet) factoryErrors() []factoryError {
	return []factoryError{
		{refPIN, factoryPINError(a.serial)},
		{refPUK, factoryPUKError(a.serial)},
		{refManagement, factoryManagementKeyError(a.serial)},
	}
}

func (v *visit) refuseOldFactory(where found, t hsm.Template, keyIsGoing bool) error {
	if string(t.PIN.Reveal()) == factoryPIN {
		return factoryPINError(where.serial)
	}
	if keyIsGoing {
		return nil
	}
	return v.withSharedToken(where.serial, resetCard, func(a *applet) error {
		err := a.authenticate(factoryManagementKey())
		switch {
		case err == nil:
			return factoryManagementKeyError(where.serial)
		case errors.Is(err, hsm.ErrAdminRequired):
			return nil
		}
		return err
	})
}

// noteProtectedKey tells other programs, as ykman does, that the token keeps its
// management key under the PIN. Where this fails they ask for the key, and
// nothing else is lost.
func (v *visit) noteProtectedKey(serial uint32, admin []byte) {
	_ = v.withSharedToken(serial, resetCard, func(a *applet) error {
		if err := a.authenticate(admin); err != nil {
			return err
		}
		return a.noteKeyUnderPIN()
	})
}

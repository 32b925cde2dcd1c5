package engine

import (
	"errors"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Suspended is what a device is told that is held off.
func Suspended(reason string) *protocol.Problem {
	if reason == store.SuspendedForked {
		return problem.New(protocol.ProblemSuspended, "two different decisions claim the same place in this device's chain: there is a copy of it, or it was set back to an earlier state")
	}
	return problem.New(protocol.ProblemSuspended, "an administrator of the server has suspended this device")
}

// Admit returns the device with a device key, as it stands now, unless it is
// revoked, its user is locked or, where it must be active, it is not or is
// suspended. A suspended one is returned beside the refusal.
func Admit(tx store.Tx, key string, mustBeActive bool) (store.Device, error) {
	d, err := store.One(tx.Devices(store.DeviceFilter{Key: key}))
	if errors.Is(err, store.ErrNotFound) || err == nil && d.DeviceKey != key {
		return store.Device{}, problem.New(protocol.ProblemUnauthorized, "no device has this key")
	}
	if err != nil {
		return store.Device{}, err
	}
	user, err := tx.User(d.User)
	switch {
	case err != nil:
		return store.Device{}, err
	case d.State == store.DeviceRevoked:
		return store.Device{}, problem.New(protocol.ProblemRevoked, "%s", d.Reason)
	case user.Locked:
		return store.Device{}, problem.New(protocol.ProblemUserLocked, "the user is locked")
	case mustBeActive && d.Suspended != "":
		return d, Suspended(d.Suspended)
	case d.State == store.DevicePending || mustBeActive && d.State != store.DeviceActive:
		return store.Device{}, problem.New(protocol.ProblemUnconfirmed, "the enrollment has not been confirmed yet")
	}
	return d, nil
}

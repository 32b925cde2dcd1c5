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

// Revoked is what a device is told that was put out.
func Revoked(d store.Device) *protocol.Problem {
	p := problem.New(protocol.ProblemRevoked, "%s", d.Reason)
	p.Successor = d.Successor
	return p
}

// holder finds the device of a device key: its present one, or one that it was
// given a certificate for and has not acknowledged yet.
func holder(tx store.Tx, key string) (store.Device, error) {
	d, err := store.One(tx.Devices(store.DeviceFilter{Key: key}))
	if err == nil && d.DeviceKey == key {
		return d, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	r, err := store.One(tx.Renewals(store.RenewalFilter{Key: key, Role: protocol.RoleDevice, States: []store.RenewalState{store.RenewalIssued}}))
	if err != nil {
		return d, err
	}
	if r.Key != key {
		return d, store.ErrNotFound
	}
	return store.One(tx.Devices(store.DeviceFilter{ID: r.Device}))
}

// Admit returns the device with a device key, as it stands now, unless it is
// revoked, its user is locked or, where it must be active, it is not or is
// suspended. A suspended one is returned beside the refusal.
func Admit(tx store.Tx, key string, mustBeActive bool) (store.Device, error) {
	d, err := holder(tx, key)
	if errors.Is(err, store.ErrNotFound) {
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
		return store.Device{}, Revoked(d)
	case user.Locked:
		return store.Device{}, problem.New(protocol.ProblemUserLocked, "the user is locked")
	case mustBeActive && d.Suspended != "":
		return d, Suspended(d.Suspended)
	case d.State == store.DevicePending || mustBeActive && d.State != store.DeviceActive:
		return store.Device{}, problem.New(protocol.ProblemUnconfirmed, "the enrollment has not been confirmed yet")
	}
	return d, nil
}

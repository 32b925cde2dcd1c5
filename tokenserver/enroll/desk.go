package enroll

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"countersign/internal/secret"
	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Reasons for which a device is revoked.
const (
	ReasonRevoked = "revoked"
	ReasonLeft    = "left"
)

// Desk is the operator's side of enrollment. It works beside a running server,
// in its process or another.
type Desk struct {
	Store store.Store
	Hub   *fanout.Hub
	Now   func() time.Time
}

// Invitation is what to make an enrollment token of.
type Invitation struct {
	// User may be "" where Replace is not: then it is that device's.
	User string
	TTL  time.Duration
	// Confirm asks for the new device's code before it is active.
	Confirm bool
	// Replace is the device that goes when the new one becomes active, or "".
	Replace string
}

// Invite makes an enrollment token, to be shown once.
func (k *Desk) Invite(ctx context.Context, in Invitation) (secret.Value, store.Token, error) {
	text := rand.Text()
	now := k.Now()
	t := store.Token{
		Hash: store.HashSecret(text), User: in.User, ExpiresAt: now.Add(in.TTL), CreatedAt: now,
		Confirm: in.Confirm, Replaces: in.Replace,
	}
	err := k.Store.Update(ctx, func(tx store.Tx) (err error) {
		if t.User, err = checkInvitation(tx, in); err != nil {
			return err
		}
		if err := tx.AddToken(t); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: now, Kind: "enrollment.invited", User: t.User, Device: in.Replace})
	})
	return secret.New([]byte(text)), t, err
}

// checkInvitation returns whose the new device will be.
func checkInvitation(tx store.Tx, in Invitation) (user string, err error) {
	if in.User != "" {
		_, err := tx.User(in.User)
		if errors.Is(err, store.ErrNotFound) {
			return "", problem.New(problem.UserUnknown, "there is no user of this name")
		}
		if err != nil || in.Replace == "" {
			return in.User, err
		}
	}
	d, err := findDevice(tx, in.User, in.Replace)
	if err == nil && d.State == store.DeviceRevoked {
		return "", problem.New(problem.DeviceUnknown, "the device to replace is revoked already")
	}
	return d.User, err
}

// findDevice finds a device; with a user, among that user's only.
func findDevice(tx store.Tx, user, id string) (store.Device, error) {
	// An empty id would select everything.
	d, err := store.One(tx.Devices(store.DeviceFilter{ID: id, User: user}))
	if id == "" || errors.Is(err, store.ErrNotFound) {
		return store.Device{}, problem.New(problem.DeviceUnknown, "there is no such device")
	}
	return d, err
}

// Confirm makes the device active that shows this confirmation code.
func (k *Desk) Confirm(ctx context.Context, code string) (d store.Device, err error) {
	if code == "" {
		return d, problem.New(problem.CodeUnknown, "no device waits for this code")
	}
	var gone []string
	err = k.Store.Update(ctx, func(tx store.Tx) error {
		d, err = store.One(tx.Devices(store.DeviceFilter{Code: code, States: []store.DeviceState{store.DeviceUnconfirmed}}))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return problem.New(problem.CodeUnknown, "no device waits for this code")
		case errors.Is(err, store.ErrConflict):
			return problem.New(problem.CodeAmbiguous, "several devices wait for this code; revoke them and enroll again")
		case err != nil:
			return err
		}
		if err := tx.SetDeviceState(d.ID, d.State, store.DeviceActive, "", k.Now()); err != nil {
			return err
		}
		d.State = store.DeviceActive
		if gone, err = replace(tx, d, k.Now()); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: k.Now(), Kind: "device.active", User: d.User, Device: d.ID, Detail: "confirmed"})
	})
	if err == nil {
		publish(k.Hub, append(gone, d.ID))
	}
	return d, err
}

// Revocation is which device to put out, and why.
type Revocation struct {
	Device string
	// User is whose device it must be, or "".
	User   string
	Reason string
	// Client is the relying party that wants it, or "".
	Client string
}

// Revoke puts a device out, for good. One that is revoked already stays so for
// its first reason.
func (k *Desk) Revoke(ctx context.Context, r Revocation) (d store.Device, err error) {
	err = k.Store.Update(ctx, func(tx store.Tx) error {
		if d, err = findDevice(tx, r.User, r.Device); err != nil || d.State == store.DeviceRevoked {
			return err
		}
		return revoke(tx, d, r.Reason, r.Client, k.Now())
	})
	if err == nil {
		publish(k.Hub, []string{d.ID})
	}
	return d, err
}

// Devices returns the devices of a user, or of all where the name is empty,
// oldest first.
func (k *Desk) Devices(ctx context.Context, user string) (out []store.Device, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		if user != "" {
			if err := haveUser(tx, user); err != nil {
				return err
			}
		}
		out, err = tx.Devices(store.DeviceFilter{User: user})
		return err
	})
	return out, err
}

// Attestation returns what a device proved its keys with.
func (k *Desk) Attestation(ctx context.Context, device string) (d store.Device, a store.Attestation, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		if d, err = findDevice(tx, "", device); err != nil {
			return err
		}
		a, err = attestationOf(tx, d.ID)
		return err
	})
	return d, a, err
}

// Renewals returns the changes of a device's approval key, oldest first.
func (k *Desk) Renewals(ctx context.Context, device string) (list []store.Renewal, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		d, err := findDevice(tx, "", device)
		if err != nil {
			return err
		}
		list, err = tx.Renewals(store.RenewalFilter{Device: d.ID})
		return err
	})
	return list, err
}

// haveUser refuses with 404: here the user is what was asked for.
func haveUser(tx store.Tx, name string) error {
	_, err := tx.User(name)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	p := problem.New(problem.UserUnknown, "there is no user of this name")
	p.Status = http.StatusNotFound
	return p
}

// State is what a device hears of its own enrollment.
func State(d store.Device) protocol.EnrollmentState {
	if d.Suspended != "" {
		return protocol.EnrollmentState{Profile: d.Profile, State: protocol.EnrollmentSuspended, Reason: d.Suspended}
	}
	return protocol.EnrollmentState{Profile: d.Profile, State: string(d.State)}
}

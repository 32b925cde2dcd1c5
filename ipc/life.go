package ipc

import (
	"context"
	"net/http"
	"net/url"

	"countersign/internal/secret"
)

// Renewal asks for new keys with new certificates,
// POST /v1/profiles/{profile}/renewal.
type Renewal struct {
	// PIN is that of the approval key, which the new one gets too.
	PIN secret.Value
	// Admin is the management key of a token, as bytes.
	Admin secret.Value
	// DeviceOnly renews the device key alone, which takes no PIN.
	DeviceOnly bool
}

// RenewedKey is what became of one key.
type RenewedKey struct {
	Renewed bool `json:"renewed"`
	// Settled says that the old key is gone; else it goes as soon as the server
	// has acknowledged the new one.
	Settled bool `json:"settled"`
}

// Renewed answers a Renewal.
type Renewed struct {
	Profile  string     `json:"profile"`
	Device   RenewedKey `json:"device"`
	Approval RenewedKey `json:"approval"`
	Key      Key        `json:"key"`
}

type wireRenewal struct {
	PIN        []byte `json:"pin,omitempty"`
	Admin      []byte `json:"admin,omitempty"`
	DeviceOnly bool   `json:"device_only,omitempty"`
}

// DecodeRenewal reads a Renewal from a request's body.
func DecodeRenewal(r *http.Request) (Renewal, error) {
	var w wireRenewal
	if err := Decode(r, &w); err != nil {
		return Renewal{}, err
	}
	return Renewal{secret.New(w.PIN), secret.New(w.Admin), w.DeviceOnly}, nil
}

// Renew gives a profile new keys, and waits until the server has certified them.
func (c *Caller) Renew(ctx context.Context, profile string, in Renewal) (r Renewed, err error) {
	w := wireRenewal{in.PIN.Reveal(), in.Admin.Reveal(), in.DeviceOnly}
	return r, c.call(ctx, http.MethodPost, "/v1/profiles/"+url.PathEscape(profile)+"/renewal", w, &r)
}

// End asks to end an enrollment, POST /v1/profiles/{profile}/end. Most chips need
// neither secret.
type End struct {
	PIN, Admin secret.Value
	// Force ends it on this device where the server cannot be told.
	Force bool
}

// Ended answers an End.
type Ended struct {
	Profile string `json:"profile"`
	// Account is user@host.
	Account string `json:"account"`
	// ServerTold is false where the server still lists the device.
	ServerTold bool `json:"server_told"`
}

type wireEnd struct {
	PIN   []byte `json:"pin,omitempty"`
	Admin []byte `json:"admin,omitempty"`
	Force bool   `json:"force,omitempty"`
}

// DecodeEnd reads an End from a request's body.
func DecodeEnd(r *http.Request) (End, error) {
	var w wireEnd
	if err := Decode(r, &w); err != nil {
		return End{}, err
	}
	return End{secret.New(w.PIN), secret.New(w.Admin), w.Force}, nil
}

// Unenroll ends an enrollment and removes its keys.
func (c *Caller) Unenroll(ctx context.Context, profile string, in End) (r Ended, err error) {
	w := wireEnd{in.PIN.Reveal(), in.Admin.Reveal(), in.Force}
	return r, c.call(ctx, http.MethodPost, "/v1/profiles/"+url.PathEscape(profile)+"/end", w, &r)
}

package ipc

import (
	"context"
	"net/http"
	"net/url"

	"countersign/internal/secret"
)

// PINChange asks for another PIN of a profile's approval key,
// POST /v1/profiles/{profile}/pin.
type PINChange struct{ Old, New secret.Value }

// PINChanged answers a PINChange.
type PINChanged struct {
	Profile string `json:"profile"`
	// NewKey says that the new PIN came with a new key, which the server has
	// certified; a token changes its PIN in place.
	NewKey bool `json:"new_key"`
	// Settled says that the old key is gone, where there is a new one; else it
	// goes as soon as the server has acknowledged the new one.
	Settled bool `json:"settled"`
	Key     Key  `json:"key"`
}

type wirePINChange struct {
	Old []byte `json:"old"`
	New []byte `json:"new"`
}

// DecodePINChange reads a PINChange from a request's body.
func DecodePINChange(r *http.Request) (PINChange, error) {
	var w wirePINChange
	if err := Decode(r, &w); err != nil {
		return PINChange{}, err
	}
	return PINChange{secret.New(w.Old), secret.New(w.New)}, nil
}

// ChangePIN changes the PIN of a profile's approval key. Where that takes a new
// key, it waits until the server has certified it.
func (c *Caller) ChangePIN(ctx context.Context, profile string, p PINChange) (r PINChanged, err error) {
	in := wirePINChange{p.Old.Reveal(), p.New.Reveal()}
	return r, c.call(ctx, http.MethodPost, "/v1/profiles/"+url.PathEscape(profile)+"/pin", in, &r)
}

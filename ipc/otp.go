package ipc

import (
	"context"
	"net/http"

	"countersign/internal/secret"
)

// Redemption asks the service to turn a one-time code into a request that waits
// for the caller, POST /v1/otp.
type Redemption struct {
	// Code is the bare code or the whole countersign:otp link.
	Code secret.Value
	// Origin is where the code came from, as package protocol names it.
	Origin string
	// Profile is whose server is asked, where a bare code does not say; "" is
	// the only one.
	Profile string
}

type wireRedemption struct {
	Code    []byte `json:"code"`
	Origin  string `json:"origin"`
	Profile string `json:"profile,omitempty"`
}

// DecodeRedemption reads a Redemption from a request's body.
func DecodeRedemption(r *http.Request) (Redemption, error) {
	var w wireRedemption
	if err := Decode(r, &w); err != nil {
		return Redemption{}, err
	}
	return Redemption{secret.New(w.Code), w.Origin, w.Profile}, nil
}

// Redeem has the service redeem a code. Nothing is decided by it: the request
// waits then as every other does.
func (c *Caller) Redeem(ctx context.Context, in Redemption) (r Request, err error) {
	return r, c.call(ctx, "POST", "/v1/otp", wireRedemption{in.Code.Reveal(), in.Origin, in.Profile}, &r)
}

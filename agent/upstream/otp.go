package upstream

import (
	"context"
	"net/http"

	"countersign/protocol"
)

// Redeem turns a code into this device's request.
func (c *Client) Redeem(ctx context.Context, r protocol.OTPRedemption) (a protocol.OTPRedeemed, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathOTP, r, &a)
}

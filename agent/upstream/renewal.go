package upstream

import (
	"context"
	"net/http"
	"net/url"

	"countersign/protocol"
)

// StartRenewal asks for a certificate of a new key. It may be repeated.
func (c *Client) StartRenewal(ctx context.Context, s protocol.RenewalStart) (a protocol.RenewalStarted, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathRenewals, s, &a)
}

// ActivateRenewal answers the server's challenge. It may be repeated.
func (c *Client) ActivateRenewal(ctx context.Context, id string, s protocol.RenewalActivation) (a protocol.Renewed, err error) {
	return a, c.callJSON(ctx, http.MethodPost, renewal(id, "activation"), s, &a)
}

// AcknowledgeRenewal ends the old key. It may be repeated.
func (c *Client) AcknowledgeRenewal(ctx context.Context, id string) error {
	return c.callJSON(ctx, http.MethodPost, renewal(id, "acknowledgement"), struct{}{}, nil)
}

func renewal(id, step string) string {
	return protocol.PathRenewals + "/" + url.PathEscape(id) + "/" + step
}

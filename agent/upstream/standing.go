package upstream

import (
	"context"
	"net/http"
	"net/url"

	"countersign/protocol"
)

// SetQuiet tells the server until when nobody is prompted here.
func (c *Client) SetQuiet(ctx context.Context, q protocol.Quiet) error {
	return c.callJSON(ctx, http.MethodPut, protocol.PathQuiet, q, nil)
}

// Unblock lets a relying party ask this device again.
func (c *Client) Unblock(ctx context.Context, client string) error {
	return c.callJSON(ctx, http.MethodDelete, protocol.PathBlocks+"/"+url.PathEscape(client), nil, nil)
}

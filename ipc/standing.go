package ipc

import (
	"context"
	"net/url"
	"time"
)

// Mute asks the service to prompt the caller for nothing, POST /v1/mute: for so
// many seconds, or 0 to prompt again.
type Mute struct {
	Seconds int64 `json:"seconds"`
}

// Muted answers it. Until is nil where prompts are not muted.
type Muted struct {
	Until *time.Time `json:"muted_until"`
	// Quiet is why the caller is not prompted all the same, and QuietUntil for
	// how long yet.
	Quiet      string     `json:"quiet,omitempty"`
	QuietUntil *time.Time `json:"quiet_until,omitempty"`
}

// Block is a relying party that may not ask a profile: its user has said of one
// of its requests that it was not theirs.
type Block struct {
	Profile string       `json:"profile"`
	Client  RelyingParty `json:"client"`
	At      time.Time    `json:"at"`
}

// Mute mutes the caller's prompts for a time, 0 for not any more.
func (c *Caller) Mute(ctx context.Context, d time.Duration) (m Muted, err error) {
	return m, c.call(ctx, "POST", "/v1/mute", Mute{Seconds: int64(d / time.Second)}, &m)
}

// Blocks lists the relying parties that the caller has blocked.
func (c *Caller) Blocks(ctx context.Context) (b []Block, err error) {
	return b, c.call(ctx, "GET", "/v1/blocks", nil, &b)
}

// Unblock lifts a block, named by the relying party's id or name.
func (c *Caller) Unblock(ctx context.Context, profile, client string) (b Block, err error) {
	return b, c.call(ctx, "DELETE", "/v1/profiles/"+url.PathEscape(profile)+"/blocks/"+url.PathEscape(client), nil, &b)
}

package ipc

import (
	"context"
	"net/url"
	"time"
)

// LogRecord is one line of the service's audit log, GET /v1/log. A user sees
// their own, root all.
type LogRecord struct {
	Seq  uint64    `json:"seq"`
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	// UID is whose affair it is; nil where it is the service's own.
	UID     *uint32           `json:"uid,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Request string            `json:"request,omitempty"`
	Client  string            `json:"client,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
}

// LogReport says whether the whole log is as it was written, GET
// /v1/log/verification.
type LogReport struct {
	Records int    `json:"records"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	// Head is the hash of the last record. Noted elsewhere, it proves later that
	// everything up to it is unchanged.
	Head string `json:"head"`
	OK   bool   `json:"ok"`
	// Problem says what is wrong and BadSeq where, unless OK.
	Problem string `json:"problem,omitempty"`
	BadSeq  uint64 `json:"bad_seq,omitempty"`
}

// Log returns the caller's records since a time, oldest first.
func (c *Caller) Log(ctx context.Context, since time.Time) (r []LogRecord, err error) {
	path := "/v1/log"
	if !since.IsZero() {
		path += "?" + url.Values{"since": {since.UTC().Format(time.RFC3339)}}.Encode()
	}
	return r, c.call(ctx, "GET", path, nil, &r)
}

// VerifyLog has the service verify its whole log.
func (c *Caller) VerifyLog(ctx context.Context) (r LogReport, err error) {
	return r, c.call(ctx, "GET", "/v1/log/verification", nil, &r)
}

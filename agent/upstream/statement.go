package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countersign/protocol"
)

// Keep remembers which trust statement the device keeps, durably: the server is
// told in every call.
func (c *Client) Keep(seq int64) { c.kept.Store(seq) }

// Announced is the number of the trust statement that the server had when it
// answered last; 0 where it never said.
func (c *Client) Announced() int64 { return c.announced.Load() }

// hear reads what an authenticated answer says beside its body.
func (c *Client) hear(resp *http.Response) {
	if now, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.skew.Store(int64(time.Until(now).Round(time.Second)))
		c.clocked.Store(true)
	}
	if seq, err := strconv.ParseInt(resp.Header.Get(protocol.HeaderTrust), 10, 64); err == nil && seq > 0 {
		c.announced.Store(seq)
	}
}

// Skew is the server's clock less ours, by its last authenticated answer.
func (c *Client) Skew() (time.Duration, bool) { return time.Duration(c.skew.Load()), c.clocked.Load() }

// Hasty is what Watch goes by.
func (c *Client) Hasty() bool { return c.hasty.Load() }

// Wake has a poll that waits after a failure tried now.
func (c *Client) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Woken is what Watch listens to.
func (c *Client) Woken() <-chan struct{} { return c.wake }

// Distrusted reports whether a call failed because whoever answered has shown no
// certificate that leads to the server's roots.
func Distrusted(err error) bool {
	if _, proxys := proxyKind(err); proxys {
		return false
	}
	return is[*tls.CertificateVerificationError](err) || is[*untimelyError](err) || errors.Is(err, errPin) || isOldTLS(err)
}

// TrustDocument fetches the server's trust document. Its signature is for the caller
// to verify.
func (c *Client) TrustDocument(ctx context.Context) ([]byte, error) {
	l := c.link.Load()
	base, _ := l.base()
	return fetch(ctx, l.http, base+protocol.PathTrust, protocol.MaxTrustDocument)
}

// Anybody asks whoever answers at the server's URLs for what proves itself. It says
// who it is to nobody: it shows no certificate, and sends nothing but what it asks for.
type Anybody struct {
	client *http.Client
	urls   []string
	of     *Client
}

// Anybody begins to ask. The caller closes it.
func (c *Client) Anybody() *Anybody {
	return &Anybody{of: c, urls: c.link.Load().urls, client: c.network.http(&tls.Config{
		MinVersion:         tls.VersionTLS12, // a login page need not be new to be known as one
		InsecureSkipVerify: true,             //nolint:gosec // what is asked for proves itself
	})}
}

// Close drops the connections.
func (a *Anybody) Close() { a.client.CloseIdleConnections() }

// TrustDocument fetches the trust document from each URL in turn, until f takes one.
func (a *Anybody) TrustDocument(ctx context.Context, f func([]byte) error) error {
	return a.ask(ctx, protocol.PathTrust, protocol.MaxTrustDocument, f)
}

// Time asks for the server's signed time in the same way.
func (a *Anybody) Time(ctx context.Context, nonce string, f func([]byte) error) error {
	return a.ask(ctx, protocol.PathTime+"?nonce="+nonce, protocol.MaxMessage, f)
}

func (a *Anybody) ask(ctx context.Context, path string, limit int64, f func([]byte) error) error {
	var failed []error
	for _, base := range a.urls {
		doc, err := fetch(ctx, a.client, base+path, limit)
		if err == nil {
			if err = f(doc); err == nil {
				return nil
			}
		}
		a.of.hasty.Store(isPortal(err))
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func fetch(ctx context.Context, client *http.Client, url string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	resp, body, err := exchange(client, req, limit) //nolint:bodyclose // exchange has
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode != http.StatusOK && resp.StatusCode/100 != 2:
		return nil, decodeAnswer(resp, body, nil)
	case resp.StatusCode != http.StatusOK, strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"):
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, odd(resp))
	}
	return body, nil
}

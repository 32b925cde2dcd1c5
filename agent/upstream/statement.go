package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"

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
	if seq, err := strconv.ParseInt(resp.Header.Get(protocol.HeaderTrust), 10, 64); err == nil && seq > 0 {
		c.announced.Store(seq)
	}
}

// Wake has a poll that waits after a failure tried now.
func (c *Client) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Woken is what Watch listens to.
func (c *Client) Woken() <-chan struct{} { return c.wake }

// Distrusted reports whether a call failed because whoever answered has no
// certificate that leads to the server's roots.
func Distrusted(err error) bool {
	_, bad := errors.AsType[*tls.CertificateVerificationError](err)
	return bad || errors.Is(err, errPin)
}

// TrustDocument fetches the server's trust document. Its signature is for the caller
// to verify.
func (c *Client) TrustDocument(ctx context.Context) ([]byte, error) {
	l := c.link.Load()
	base, _ := l.base()
	return fetchTrust(ctx, l.http, base)
}

// TrustDocumentFromAnybody fetches it from each of the server's URLs in turn, from
// whoever answers there, until f takes one. It says who it is to nobody: it shows no
// certificate, and sends nothing but where the document is.
func (c *Client) TrustDocumentFromAnybody(ctx context.Context, f func([]byte) error) error {
	client := c.network.http(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // the document proves itself
	})
	defer client.CloseIdleConnections()
	var failed []error
	for _, base := range c.link.Load().urls {
		doc, err := fetchTrust(ctx, client, base)
		if err == nil {
			err = f(doc)
		}
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func fetchTrust(ctx context.Context, client *http.Client, base string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+protocol.PathTrust, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	resp, body, err := exchange(client, req, protocol.MaxTrustDocument) //nolint:bodyclose // exchange has
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, decodeAnswer(resp, body, new(protocol.TrustDocument))
	}
	return body, nil
}

// Package upstream is the device's side of the device API: it calls the Token
// Server over mutually authenticated TLS, and keeps a long poll open.
//
// It trusts one TLS root per server, given or learned at enrollment. It knows
// nothing of what requests and decisions mean: what it fetches is unverified
// until package agent has verified it.
package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countersign/protocol"
)

// ErrUnreachable wraps every failure to get an answer from the server.
var ErrUnreachable = errors.New("the server cannot be reached")

// callTimeout bounds one call, beyond what it asked the server to wait.
const callTimeout = 20 * time.Second

// maxAnswer bounds an answer: a list of pending requests is the longest.
const maxAnswer = 8 << 20

// Client calls one server as one device. It is safe for concurrent use.
type Client struct {
	network Network
	link    atomic.Pointer[link]
	root    atomic.Pointer[[]byte]
	// moving orders the changes of link.
	moving sync.Mutex
	// kept is the trust statement that the device keeps, announced that of the
	// server's last answer.
	kept, announced atomic.Int64
	// skew is the server's clock less ours, in nanoseconds, once clocked.
	skew    atomic.Int64
	clocked atomic.Bool
	// hasty says that a login page stands in the way, which lifts at once.
	hasty atomic.Bool
	wake  chan struct{}
}

// link is what goes over the connections that one certificate has made to one
// server.
type link struct {
	http *http.Client
	tls  *tls.Config
	urls []string
	// at counts the URLs that were tried: the one in use is it modulo their number.
	at atomic.Uint64
	// over is closed when another link has taken its place.
	over chan struct{}
}

// Server is where a server is, and what it is trusted by.
type Server struct {
	// URLs are tried in this order. There is one at least.
	URLs []string
	// Roots are the only TLS roots, DER; none are the system's.
	Roots [][]byte
}

// ForEnrollment makes a client without a certificate. Where spki is not empty
// it trusts only that root, which Root then returns.
func ForEnrollment(base string, spki []byte) *Client { return Network{}.ForEnrollment(base, spki) }

// ForEnrollment is the function of that name, over this network.
func (n Network) ForEnrollment(base string, spki []byte) *Client {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	c := n.client()
	if len(spki) > 0 {
		pin(cfg, hostOf(base), spki, func(root []byte) { c.root.Store(&root) })
	}
	c.link.Store(n.link(cfg, []string{base}))
	return c
}

// Root is the TLS root, DER, that a client made ForEnrollment has found behind
// the server; nil before the first answer, or where no SPKI was given.
func (c *Client) Root() []byte {
	if root := c.root.Load(); root != nil {
		return *root
	}
	return nil
}

// ForDevice makes a client that authenticates with the device certificate.
func (n Network) ForDevice(s Server, cert tls.Certificate) (*Client, error) {
	cfg, err := rooted(s.Roots)
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{cert}
	c := n.client()
	c.link.Store(n.link(cfg, s.URLs))
	return c, nil
}

// ForDevice is a client for a server with one URL, over the network as it is by
// itself, that trusts root, or the system's roots where it is empty.
func ForDevice(base string, root []byte, cert tls.Certificate) (*Client, error) {
	s := Server{URLs: []string{base}}
	if len(root) > 0 {
		s.Roots = [][]byte{root}
	}
	return Network{}.ForDevice(s, cert)
}

// Authenticate makes new connections from now on, with another certificate. A poll
// under way begins anew; other calls under way end as they began.
func (c *Client) Authenticate(cert tls.Certificate) {
	c.moving.Lock()
	defer c.moving.Unlock()
	old := c.link.Load()
	cfg := old.tls.Clone()
	cfg.Certificates = []tls.Certificate{cert}
	c.replace(old, c.network.link(cfg, old.urls))
}

// Move makes new connections from now on, to where the server is now.
func (c *Client) Move(s Server) error {
	cfg, err := rooted(s.Roots)
	if err != nil {
		return err
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	old := c.link.Load()
	cfg.Certificates = old.tls.Certificates
	c.replace(old, c.network.link(cfg, s.URLs))
	return nil
}

// replace puts a link in the place of another.
func (c *Client) replace(old, next *link) {
	c.link.Store(next)
	close(old.over)
	old.http.CloseIdleConnections()
}

func (n Network) client() *Client { return &Client{network: n, wake: make(chan struct{}, 1)} }

// link gives the transport a configuration of its own, since it changes it.
func (n Network) link(cfg *tls.Config, urls []string) *link {
	return &link{tls: cfg, urls: urls, over: make(chan struct{}), http: n.http(cfg.Clone())}
}

func (n Network) http(cfg *tls.Config) *http.Client {
	return &http.Client{
		Transport: n.transport(cfg),
		// The device API never redirects; a redirect would carry a decision
		// to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// base is the URL in use, and which try it is.
func (l *link) base() (string, uint64) {
	at := l.at.Load()
	return l.urls[at%uint64(len(l.urls))], at
}

// hostOf is the name or address that the server's certificate must hold.
func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "" // and no call to it gets as far as a certificate
	}
	return u.Hostname()
}

// Close drops idle connections.
func (c *Client) Close() { c.link.Load().http.CloseIdleConnections() }

// Start does the first step of an enrollment.
func (c *Client) Start(ctx context.Context, s protocol.EnrollmentStart) (a protocol.EnrollmentStarted, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathEnrollments, s, &a)
}

// Activate does the second.
func (c *Client) Activate(ctx context.Context, id string, s protocol.Activation) (a protocol.Enrolled, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathEnrollments+"/"+url.PathEscape(id)+"/activation", s, &a)
}

// Leave ends the enrollment. A device that has none any more is refused, which
// Final says.
func (c *Client) Leave(ctx context.Context) error {
	return c.callJSON(ctx, http.MethodDelete, protocol.PathEnrollment, nil, nil)
}

// State asks how the enrollment stands.
func (c *Client) State(ctx context.Context) (a protocol.EnrollmentState, err error) {
	return a, c.callJSON(ctx, http.MethodGet, protocol.PathEnrollment, nil, &a)
}

// RequestState asks what became of a request.
func (c *Client) RequestState(ctx context.Context, id string) (a protocol.RequestState, err error) {
	return a, c.callJSON(ctx, http.MethodGet, protocol.PathRequests+"/"+url.PathEscape(id), nil, &a)
}

// Deliver hands in a decision. A refusal is a *protocol.Problem.
func (c *Client) Deliver(ctx context.Context, id, compact string) (a protocol.Accepted, err error) {
	req := call{
		method: http.MethodPost, path: protocol.PathRequests + "/" + url.PathEscape(id) + "/decision",
		contentType: protocol.MediaTypeJOSE, body: []byte(compact),
	}
	_, err = c.do(ctx, req, &a) //nolint:bodyclose // do has
	return a, err
}

// Fetch is one long poll: the pending requests at once where etag is empty and
// there are any, else as soon as the list is no longer the one that etag
// names, else ok is false after wait.
func (c *Client) Fetch(ctx context.Context, etag string, wait time.Duration) (list protocol.Requests, newTag string, ok bool, err error) {
	req := call{method: http.MethodGet, path: protocol.PathRequests, etag: etag, wait: wait}
	resp, err := c.poll(ctx, req, &list) //nolint:bodyclose // do has
	if err != nil {
		return protocol.Requests{}, "", false, err
	}
	return list, resp.Header.Get("ETag"), resp.StatusCode == http.StatusOK, nil
}

// poll sends a call that waits, and sends it again where its connection's
// certificate is replaced meanwhile.
func (c *Client) poll(ctx context.Context, in call, out any) (*http.Response, error) {
	for {
		l := c.link.Load()
		waiting, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			select {
			case <-l.over:
				cancel()
			case <-done:
			}
		}()
		resp, err := c.do(waiting, in, out)
		close(done)
		cancel()
		if err == nil || ctx.Err() != nil || l == c.link.Load() {
			return resp, err
		}
	}
}

type call struct {
	method, path, contentType, etag string
	body                            []byte
	wait                            time.Duration
}

func (c *Client) callJSON(ctx context.Context, method, path string, in, out any) error {
	req := call{method: method, path: path}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
		req.contentType, req.body = "application/json", body
	}
	_, err := c.do(ctx, req, out) //nolint:bodyclose // do has
	return err
}

// do sends one call and decodes its answer into out. The response it returns
// has no body any more.
func (c *Client) do(ctx context.Context, in call, out any) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, in.wait+callTimeout)
	defer cancel()
	l := c.link.Load()
	base, at := l.base()
	req, err := http.NewRequestWithContext(ctx, in.method, base+in.path, bytes.NewReader(in.body))
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	in.headers(req.Header)
	if kept := c.kept.Load(); kept > 0 {
		req.Header.Set(protocol.HeaderTrust, strconv.FormatInt(kept, 10))
	}
	resp, body, err := exchange(l.http, req, maxAnswer)
	if err == nil {
		c.hear(resp)
		err = decodeAnswer(resp, body, out)
	}
	if errors.Is(err, ErrUnreachable) {
		err = l.judged(base, err)
		c.hasty.Store(KindOf(err) == CaptivePortal)
		// The next call tries the next URL, once, however many failed together.
		l.at.CompareAndSwap(at, at+1)
	}
	return resp, err
}

// exchange sends a request and reads the whole answer, of a limited size.
func exchange(client *http.Client, req *http.Request, limit int64) (*http.Response, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, wordless(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, limit))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return resp, body, nil
}

// wordless is the error of a call without what somebody has sent. The transport quotes
// a line that it cannot read.
func wordless(err error) error {
	if text := err.Error(); strings.Contains(text, "malformed HTTP") || strings.Contains(text, "malformed MIME") {
		return errGarbled
	}
	return err
}

var errGarbled = errors.New("the answer is no HTTP")

func (in call) headers(h http.Header) {
	if in.contentType != "" {
		h.Set("Content-Type", in.contentType)
	}
	if in.etag != "" {
		h.Set("If-None-Match", in.etag)
	}
	if in.wait > 0 {
		h.Set("Prefer", "wait="+strconv.Itoa(int(in.wait.Seconds())))
	}
}

func decodeAnswer(resp *http.Response, body []byte, out any) error {
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("%w: the answer is not the protocol's", ErrUnreachable)
		}
		return nil
	}
	p := new(protocol.Problem)
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mt != protocol.MediaTypeProblem || json.Unmarshal(body, p) != nil || !isCode(p.Code) {
		// A proxy or a captive portal answered, not the server.
		return fmt.Errorf("%w: %w", ErrUnreachable, odd(resp))
	}
	p.Status = resp.StatusCode
	clean(p)
	return p
}

// Limits of the words of a problem, in bytes.
const (
	maxCode   = 64
	maxTitle  = 128
	maxDetail = 1024
)

func isCode(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxCode
}

// clean drops what may not be shown: a problem's words end up in a terminal
// and in a log.
func clean(p *protocol.Problem) {
	if p.Title == "" || protocol.CheckText("title", p.Title, maxTitle) != nil {
		p.Title = "status " + strconv.Itoa(p.Status)
	}
	if protocol.CheckText("detail", p.Detail, maxDetail) != nil {
		p.Detail = ""
	}
	if protocol.CheckText("successor", p.Successor, maxCode) != nil {
		p.Successor = ""
	}
	if p.State != protocol.StatePending && !p.State.Final() {
		p.State = ""
	}
}

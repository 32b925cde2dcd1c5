package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Caller is a client of the service. Its methods return *Error for every
// refusal, and one of code service_unreachable where nothing answers.
type Caller struct {
	socket string
	http   *http.Client
}

// Dial makes a Caller for the service at a socket. It does not connect yet.
func Dial(socket string) *Caller {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return queue(ctx, socket) }
	return &Caller{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// queueTime is how long a caller waits for its place before the service, and
// queuePause for each look whether there is one.
const (
	queueTime  = 10 * time.Second
	queuePause = 5 * time.Millisecond
)

// queue connects, and waits where so many connect at once that the kernel takes no
// more: a local user who does nothing else must neither shut the others out nor have
// the watchdog believe that the service hangs.
func queue(ctx context.Context, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	pause := time.NewTicker(queuePause)
	defer pause.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if !errors.Is(err, unix.EAGAIN) {
			return conn, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// answerTime is how long a question may take, the longest being one that asks
// the server too.
const answerTime = 25 * time.Second

var errStuck = errors.New("no answer in time")

// Close drops idle connections.
func (c *Caller) Close() { c.http.CloseIdleConnections() }

// Status asks how the service is.
func (c *Caller) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, "GET", "/v1/status", nil, &s)
}

// Alive asks whether the service answers at all, which it does without a chip, a
// disk or a network. Each call is a connection of its own.
func (c *Caller) Alive(ctx context.Context) error {
	defer c.Close()
	return c.call(ctx, "GET", "/v1/alive", nil, &struct{}{})
}

// Profiles lists the caller's profiles, oldest first.
func (c *Caller) Profiles(ctx context.Context) (p []Profile, err error) {
	return p, c.call(ctx, "GET", "/v1/profiles", nil, &p)
}

// Profile finds one by id, unique prefix, or user@host. With check the server
// is asked too.
func (c *Caller) Profile(ctx context.Context, name string, check bool) (p Profile, err error) {
	path := "/v1/profiles/" + url.PathEscape(name)
	if check {
		path += "?check=1"
	}
	return p, c.call(ctx, "GET", path, nil, &p)
}

// Enroll makes the keys and enrolls the caller's user.
func (c *Caller) Enroll(ctx context.Context, e Enrollment) (r Enrolled, err error) {
	return r, c.call(ctx, "POST", "/v1/enrollments", e.wire(), &r)
}

// Requests lists what is pending, oldest first; with all, the history too.
func (c *Caller) Requests(ctx context.Context, all bool) (r []Request, err error) {
	path := "/v1/requests"
	if all {
		path += "?all=1"
	}
	return r, c.call(ctx, "GET", path, nil, &r)
}

// Show returns one request with its display record, rendered as the view says.
func (c *Caller) Show(ctx context.Context, id string, v View) (d Display, err error) {
	return d, c.call(ctx, "GET", "/v1/requests/"+url.PathEscape(id)+v.query(), nil, &d)
}

// Decide hands in a person's decision and waits, for up to ten seconds, until
// the server has confirmed it.
func (c *Caller) Decide(ctx context.Context, id string, a Answer) (r Result, err error) {
	return r, c.call(ctx, "POST", "/v1/requests/"+url.PathEscape(id)+"/decision", a.wire(), &r)
}

// Doctor asks for the service's own checks.
func (c *Caller) Doctor(ctx context.Context) (checks []Check, err error) {
	return checks, c.call(ctx, "GET", "/v1/doctor", nil, &checks)
}

// Keys lists the keys of the caller's profiles, and what broken enrollments
// left.
func (c *Caller) Keys(ctx context.Context) (k []StoredKey, err error) {
	return k, c.call(ctx, "GET", "/v1/keys", nil, &k)
}

// DeleteKeys removes the keys of a profile that is over and forgets it, or
// removes a leftover. It returns what was removed.
func (c *Caller) DeleteKeys(ctx context.Context, owner string, d KeyDeletion) (k []StoredKey, err error) {
	return k, c.call(ctx, "POST", "/v1/keys/"+url.PathEscape(owner)+"/deletion", d.wire(), &k)
}

// Events calls f for each event of the stream until ctx ends, the service
// closes it, or f returns an error. It never returns nil. With prompting the
// caller says that it can ask the person now.
func (c *Caller) Events(ctx context.Context, prompting bool, f func(Event) error) error {
	path := "/v1/events"
	if prompting {
		path += "?prompting=1"
	}
	resp, err := c.do(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return c.unreachable(ctx, err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

func (c *Caller) call(ctx context.Context, method, path string, in, out any) error {
	if method == http.MethodGet {
		// A question is answered soon, or the service is stuck; what acts may
		// wait for the chip and for the server.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, answerTime, errStuck)
		defer cancel()
	}
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.unreachable(ctx, err)
	}
	return nil
}

func (c *Caller) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("ipc: %w", err)
		}
		defer clear(b) // it may hold a PIN
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://countersignd"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ipc: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e errorBody
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error == nil {
		return nil, Errorf(CodeInternal, "see the log of countersignd", "countersignd answered %s", resp.Status)
	}
	return nil, e.Error
}

func (c *Caller) unreachable(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errStuck):
		return Errorf(CodeUnreachable, "see the log of countersignd, and restart it", "the service at %s does not answer", c.socket)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("ipc: %w", err)
	case errors.Is(err, os.ErrPermission):
		return Errorf(CodeUnreachable, "use the socket of your own service, or run as the user it serves", "you may not open %s", c.socket)
	case errors.Is(err, os.ErrNotExist):
		return Errorf(CodeUnreachable, "start countersignd, or name its socket with --socket", "no service listens at %s", c.socket)
	}
	return Errorf(CodeUnreachable, "see whether countersignd runs, and try again", "the service at %s does not answer", c.socket)
}

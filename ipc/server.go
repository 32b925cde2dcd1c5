package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const maxBody = 64 << 10

// Access says who may call a route. The zero value is no rule at all, and a
// table that holds it is refused.
type Access int

// The rules.
const (
	// ReadOwn: every local user reads what is their own; root reads all.
	ReadOwn Access = iota + 1
	// ActOwn: every local user acts on what is their own; root too decides
	// nothing but its own.
	ActOwn
)

// Scope is what a caller may touch, made from the route's rule and the
// kernel's uid. Handlers filter by it and hold no rule of their own.
type Scope struct {
	Peer Peer
	all  bool
}

// Covers reports whether something owned by uid is within the scope.
func (s Scope) Covers(uid uint32) bool { return s.all || s.Peer.UID == uid }

func (a Access) scope(p Peer) Scope {
	return Scope{Peer: p, all: a == ReadOwn && p.UID == 0}
}

// Route is one call of the local API.
type Route struct {
	// Pattern is as in http.ServeMux, e.g. "GET /v1/status".
	Pattern string
	Access  Access
	// Handle answers with a value to encode, or an error. A nil value means
	// that it wrote the response itself.
	Handle func(w http.ResponseWriter, r *http.Request, s Scope) (any, error)
}

// NewHandler makes the routes' handler. It fails when a route has no rule.
func NewHandler(log *slog.Logger, routes []Route) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, route := range routes {
		if route.Access != ReadOwn && route.Access != ActOwn {
			return nil, fmt.Errorf("ipc: route %q has no access rule", route.Pattern)
		}
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { route.serve(log, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, Errorf(CodeNotFound, "upgrade countersignd", "this service has no such call"))
	})
	return mux, nil
}

func (rt Route) serve(log *slog.Logger, w http.ResponseWriter, r *http.Request) {
	peer, ok := r.Context().Value(peerKey{}).(Peer)
	if !ok {
		writeError(w, Errorf(CodeForbidden, "", "the caller is unknown"))
		return
	}
	r.Body = http.MaxBytesReader(w, inTime(w, r), maxBody)
	v, err := rt.Handle(w, r, rt.Access.scope(peer))
	if err != nil {
		e := AsError(err)
		log.Info("local call refused", "route", rt.Pattern, "uid", peer.UID, "pid", peer.PID, "code", e.Code, "error", err)
		writeError(w, e)
		return
	}
	if v != nil {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

// bodyTime is how long a caller may take to send a body.
const bodyTime = 10 * time.Second

// inTime is the body of a call, which must arrive soon. Once it has, the caller may
// wait for the answer, or for a stream, as long as that takes.
func inTime(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	if r.ContentLength == 0 {
		return r.Body
	}
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Now().Add(bodyTime)) != nil {
		return r.Body
	}
	return &timedBody{r.Body, func() { _ = c.SetReadDeadline(time.Time{}) }}
}

// timedBody says when it has been read to its end.
type timedBody struct {
	io.ReadCloser
	over func()
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.over()
	}
	return n, err
}

// Decode reads a JSON body into v. Unknown members are refused: a caller that
// says more than the service understands must not be half obeyed.
func Decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil // one document and nothing behind it
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Errorf(CodeTooLarge, "", "the body is over %d bytes", maxBody)
	}
	// The decoder's text may quote the body, which may hold a PIN.
	return Errorf(CodeBadRequest, "", "the body is not the JSON this call takes")
}

// Listen makes the socket at path, with its directory. A socket that is left
// over from a service that died is replaced; one that answers is not.
func Listen(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("ipc: %w", err)
	}
	if err := clearStale(path); err != nil {
		return nil, fmt.Errorf("ipc: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("ipc: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("ipc: %w", err)
	}
	return l, nil
}

// clearStale removes a socket that nobody listens on any more. Whatever else
// stands at path stays: a mistyped path must not cost a file, nor a service
// that is too busy to accept its socket.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("another service answers at %s", path)
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("another service may answer at %s: %w", path, err)
	}
	return os.Remove(path)
}

// Serve answers on l until ctx ends, then lets calls under way finish for a
// moment. Streams end with ctx.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		// Who holds connections that say nothing gives them back.
		IdleTimeout: time.Minute,
		ConnContext: withPeer,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(newPeerListener(l))
	if stop() {
		_ = srv.Close()
	} else {
		<-over
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ipc: %w", err)
	}
	return nil
}

package ipc_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
)

// service serves routes on a socket until its test ends.
type service struct {
	socket string
	log    testenv.Log
	stop   context.CancelFunc
	ended  chan error
}

// socketPath is short enough for sun_path, which t.TempDir does not promise.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "s")
}

func serve(t *testing.T, routes ...ipc.Route) *service {
	t.Helper()
	s := &service{socket: socketPath(t), ended: make(chan error, 1)}
	h, err := ipc.NewHandler(slog.New(slog.NewTextHandler(&s.log, nil)), routes)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ipc.Listen(s.socket, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	go func() { s.ended <- ipc.Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		s.ended <- nil
	})
	return s
}

func (s *service) caller(t *testing.T) *ipc.Caller {
	t.Helper()
	c := ipc.Dial(s.socket)
	t.Cleanup(c.Close)
	return c
}

// client is plain HTTP over the socket, as curl speaks it.
func (s *service) client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.socket)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func value(v any, err error) func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
	return func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) { return v, err }
}

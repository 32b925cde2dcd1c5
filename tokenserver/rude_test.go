package tokenserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
	"countersign/tokenserver/store/sqlite"
)

// dial opens a connection for HTTP/1.1, where a body that nobody reads stands
// in the way of the next request.
func dial(t *testing.T, s *servertest.Server, url string) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: s.Roots(), NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(25 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestBodyThatNeverComes is of callers whom nobody has let in.
func TestBodyThatNeverComes(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	for name, c := range map[string]struct{ base, path string }{
		"no route":     {s.Issuer(), "/"},
		"no client":    {s.Issuer(), "/v1/transactions"},
		"no device":    {s.DeviceURL(), protocol.PathRequests + "/t_x/decision"},
		"body awaited": {s.DeviceURL(), protocol.PathEnrollments},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, s, c.base)
			_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", c.path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("the server holds on to the connection: %v", err)
			}
		})
	}
}

func TestNoAnswerToWhoHasGone(t *testing.T) {
	s, bank, _ := scene(t)
	tx := bank.start("confirm", "alice")
	conn := dial(t, s, s.Issuer())
	req, err := http.NewRequest(http.MethodGet, s.Issuer()+"/v1/transactions/"+tx.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	bank.edit(req)
	req.Header.Set("Prefer", "wait=60")
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// It can still read, and must not take silence for success.
	if resp, err := http.ReadResponse(bufio.NewReader(conn), req); err == nil {
		t.Errorf("answered with %s", resp.Status)
	}
}

// brokenStore panics where the health of the store is asked for.
type brokenStore struct{ store.Store }

func (b brokenStore) Changes(ctx context.Context) (int64, error) {
	if _, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
		panic("broken")
	}
	return b.Store.Changes(ctx)
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, "server.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	authority, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log testenv.Log
	s, err := tokenserver.New(t.Context(), tokenserver.Config{
		Store: brokenStore{st}, PKI: authority, Listen: "127.0.0.1:0", DeviceListen: "127.0.0.1:0",
		Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	roots, err := os.ReadFile(filepath.Join(dir, pki.FileCA))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	newCaller(t, s.Issuer(), &tls.Config{RootCAs: pool}).get("/healthz").refused(t, http.StatusInternalServerError, protocol.ProblemInternal)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if logged := log.String(); !strings.Contains(logged, `"level":"ERROR"`) || !strings.Contains(logged, "broken") || !strings.Contains(logged, "rude_test.go") {
		t.Errorf("the log does not tell what broke where: %s", logged)
	}
}

package bench

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
)

const pin = "493817"

// server is a Token Server.
type server struct {
	tb           testing.TB
	data, issuer string
}

func startServer(tb testing.TB) *server {
	tb.Helper()
	s := &server{tb: tb, data: filepath.Join(tb.TempDir(), "server")}
	d := start(tb, program(tb, "countersign-server"), nil, "serve", "--data", s.data, "--listen", "127.0.0.1:0", "--device-listen", "127.0.0.1:0")
	for line := range strings.Lines(d.said.String()) {
		if url, ok := strings.CutPrefix(line, "issuer "); ok {
			s.issuer = strings.TrimSpace(url)
		}
	}
	return s
}

func (s *server) ca() string { return filepath.Join(s.data, "ca.pem") }

// command runs one of the administrator's, and returns what it answers.
func (s *server) command(args ...string) (answer map[string]any) {
	s.tb.Helper()
	out, err := exec.Command(program(s.tb, "countersign-server"), append(args, "--data", s.data, "--json")...).CombinedOutput()
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		s.tb.Fatalf("countersign-server %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return answer
}

// agent is the service of one computer, with a TPM of its own.
type agent struct {
	*daemon
	tb     testing.TB
	server *server
	path   string
	env    []string
	args   []string
	caller *ipc.Caller
	// users are who enrolled here.
	users []string
}

// newAgent makes a service with so many profiles, and leaves it stopped, as a
// computer is that is about to start.
func newAgent(tb testing.TB, s *server, profiles int, env ...string) *agent {
	tb.Helper()
	dir, err := os.MkdirTemp("", "cs") // short: a socket's path has room for 107 bytes
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent.sock")
	a := &agent{
		tb: tb, server: s, path: ownCopy(tb, "countersignd"), env: env, caller: ipc.Dial(socket),
		args: []string{"--user", "--state", filepath.Join(dir, "state"), "--socket", socket, "--tpm", testenv.StartSWTPM(tb).Spec()},
	}
	a.start()
	for range profiles {
		a.enroll()
	}
	a.stop()
	return a
}

// start starts it, once more where it was stopped.
func (a *agent) start() *daemon {
	a.tb.Helper()
	a.daemon = start(a.tb, a.path, a.env, a.args...)
	return a.daemon
}

// socket is where it listens.
func (a *agent) socket() string { return a.args[4] }

func (a *agent) enroll() {
	a.tb.Helper()
	name := fmt.Sprintf("u%d", time.Now().UnixNano())
	a.server.command("user", "add", name)
	link, _ := a.server.command("enrollment", "create", "--user", name)["uri"].(string)
	_, err := a.caller.Enroll(a.tb.Context(), ipc.Enrollment{URI: secret.New([]byte(link)), Key: "tpm", PIN: secret.New([]byte(pin))})
	if err != nil {
		a.tb.Fatal(err)
	}
	a.users = append(a.users, name)
}

// awaitServer returns when all profiles have reached the server.
func (a *agent) awaitServer() {
	a.tb.Helper()
	testenv.Eventually(a.tb, "the service to reach its server", func() bool {
		list, err := a.caller.Profiles(a.tb.Context())
		if err != nil {
			a.tb.Fatal(err)
		}
		for _, p := range list {
			if !p.Connected {
				return false
			}
		}
		return len(list) == len(a.users)
	})
	a.caller.Close()
}

// watchdog is a service manager that wants to hear every 30 s that a service is
// alive, and the environment that tells the service so.
func watchdog(tb testing.TB) (env []string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	go func() {
		for buf := make([]byte, 4096); ; {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	return []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000000"}
}

// helper is the session helper of a service, on a desktop of its own whose login
// manager says that somebody sits there.
func helper(tb testing.TB, a *agent) *daemon {
	tb.Helper()
	desk := testenv.StartDesktop(tb)
	system := testenv.StartBus(tb)
	login := testenv.StartLogin(tb, system.Address)
	login.Set("c1", testenv.LoginSession{Active: true})
	login.Belongs("", "c1")
	env := append(desk.Env(), "DBUS_SYSTEM_BUS_ADDRESS="+system.Address)
	return start(tb, ownCopy(tb, "countersign"), env, "session", "--prompt", "desktop", "--pinentry", "pinentry-gtk-2", "--socket", a.socket())
}

// longPolls is a server that lets the hello program wait as ours lets a service
// wait. The URL is what to ask, roots the file to trust.
func longPolls(tb testing.TB) (url, roots string) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(strings.TrimPrefix(r.Header.Get("Prefer"), "wait="))
		if err != nil || r.ProtoMajor != 2 {
			http.Error(w, "not a long poll over HTTP/2", http.StatusBadRequest)
			return
		}
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-ctx.Done():
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of programs that are ended at once
	srv.StartTLS()
	tb.Cleanup(func() { cancel(); srv.CloseClientConnections(); srv.Close() })
	roots = filepath.Join(tb.TempDir(), "roots.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(roots, cert, 0o600); err != nil {
		tb.Fatal(err)
	}
	return srv.URL, roots
}

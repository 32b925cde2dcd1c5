package ipc_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"countersign/internal/testenv"
	"countersign/ipc"
)

// TestScopes has two uids call one route of each kind over a real socket.
func TestScopes(t *testing.T) {
	type seen struct{ own, others, system bool }
	scopes := make(chan ipc.Scope, 1)
	handle := func(_ http.ResponseWriter, _ *http.Request, s ipc.Scope) (any, error) {
		scopes <- s
		return "ok", nil
	}
	s := serve(
		t,
		ipc.Route{Pattern: "GET /read", Access: ipc.ReadOwn, Handle: handle},
		ipc.Route{Pattern: "GET /act", Access: ipc.ActOwn, Handle: handle},
	)
	for _, c := range []struct {
		uid  uint32
		path string
		want seen
	}{
		{0, "/read", seen{own: true, others: true, system: true}},
		{0, "/act", seen{own: true, system: true}},
		{4711, "/read", seen{own: true}},
		{4711, "/act", seen{own: true}},
	} {
		conn := dialAs(t, s.socket, c.uid)
		if _, err := conn.Write([]byte("GET " + c.path + " HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		scope := <-scopes
		if scope.Peer.UID != c.uid || int(scope.Peer.PID) != os.Getpid() {
			t.Errorf("uid %d is seen as uid %d, pid %d", c.uid, scope.Peer.UID, scope.Peer.PID)
		}
		if got := (seen{scope.Covers(c.uid), scope.Covers(4712), scope.Covers(0)}); got != c.want {
			t.Errorf("uid %d at %s covers %+v, want %+v", c.uid, c.path, got, c.want)
		}
		if err := scope.Peer.Check(); err != nil {
			t.Errorf("uid %d: %v", c.uid, err)
		}
		conn.Close()
	}
}

// dialAs connects as a user, which takes root for another than the test's own.
func dialAs(t *testing.T, socket string, uid uint32) net.Conn {
	t.Helper()
	if os.Getuid() != 0 && int(uid) != os.Getuid() {
		t.Skip("only root can call as another user")
	}
	conn, err := testenv.DialAs(socket, int(uid))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestPeerIsGone: the check sees that the very process has ended.
func TestPeerIsGone(t *testing.T) {
	testenv.Need(t, "python3")
	scopes := make(chan ipc.Scope, 1)
	s := serve(t, ipc.Route{Pattern: "GET /x", Access: ipc.ActOwn, Handle: func(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
		scopes <- s
		<-r.Context().Done()
		return "ok", nil
	}})
	script := `import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
sys.stdin.read()`
	cmd := exec.Command("python3", "-c", script, s.socket)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scope := <-scopes
	if err := scope.Peer.Check(); err != nil || int(scope.Peer.PID) != cmd.Process.Pid {
		t.Errorf("the living caller %d is seen as %d: %v", cmd.Process.Pid, scope.Peer.PID, err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := scope.Peer.Check(); !errors.Is(err, ipc.ErrGone) {
		t.Errorf("the ended caller: %v", err)
	}
}

// TestCloseTwice: a connection that is closed a second time takes nobody
// else's descriptor with it.
func TestCloseTwice(t *testing.T) {
	path := socketPath(t)
	inner, err := ipc.Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l := ipc.Named(inner)
	defer l.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	var files []*os.File // among them one that has the number of the closed one
	for range 8 {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	conn.Close()
	for _, f := range files {
		if _, err := f.WriteString("x"); err != nil {
			t.Errorf("the second Close closed the file of somebody else: %v", err)
		}
	}
}

// TestOneUserCannotShutOthersOut opens as many connections as one uid may, and
// more: another uid is still answered, and so is the first once it has closed
// one.
func TestOneUserCannotShutOthersOut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can call as another user")
	}
	s := serve(t, ipc.Route{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: value(ipc.Status{Version: "1"}, nil)})
	var conns []net.Conn
	for range ipc.MaxConns {
		conns = append(conns, dialAs(t, s.socket, 4711))
	}
	one := dialAs(t, s.socket, 4711)
	defer one.Close()
	_ = one.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("one connection too many was not turned away: %v", err)
	}
	if _, err := s.caller(t).Status(t.Context()); err != nil {
		t.Errorf("another uid: %v", err)
	}
	for _, c := range conns {
		c.Close()
	}
	testenv.Eventually(t, "room for the first uid", func() bool {
		c := dialAs(t, s.socket, 4711)
		defer c.Close()
		if _, err := c.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			return false
		}
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	})
}

func TestListen(t *testing.T) {
	path := filepath.Join(filepath.Dir(socketPath(t)), "sub", "s")
	l, err := ipc.Listen(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the socket: %v %v", info, err)
	}
	if _, err := ipc.Listen(path, 0o640); err == nil {
		t.Fatal("the socket of a service that answers was taken")
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the service that was there: %v", err)
	} else {
		c.Close()
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // as a service that dies
	again, err := ipc.Listen(path, 0o640)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	again.Close()
}

func TestListenSparesFiles(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := ipc.Listen(path, 0o600); err == nil {
		l.Close()
		t.Error("a file was replaced by a socket")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file is gone: %q %v", data, err)
	}
}

// TestListenSparesABusyService: one whose queue is full does not answer, and
// lives.
func TestListenSparesABusyService(t *testing.T) {
	path := socketPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	queued, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer queued.Close()
	if l, err := ipc.Listen(path, 0o600); err == nil {
		l.Close()
		t.Error("the socket of a busy service was replaced")
	}
}

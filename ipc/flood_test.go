package ipc_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"countersign/ipc"
)

// TestManyUIDsLeaveRoom: who has the uids of many takes all there is for many, and
// still leaves a few connections to each user.
func TestManyUIDsLeaveRoom(t *testing.T) {
	l := ipc.NewCounter()
	admitted := 0
	for uid := range uint32(40) {
		for range ipc.MaxConns {
			if l(100000 + uid) {
				admitted++
			}
		}
	}
	if admitted < 1024 || admitted > 1024+40*4 {
		t.Errorf("%d connections of 40 uids were admitted", admitted)
	}
	for n := range 5 {
		if got, want := l(1000), n < 4; got != want {
			t.Errorf("connection %d of a user: admitted %v", n+1, got)
		}
	}
}

// TestBodyThatNeverComes: who begins a body and says no more is cut off, and does not
// hold a connection for good.
func TestBodyThatNeverComes(t *testing.T) {
	t.Parallel()
	s := serve(t, ipc.Route{Pattern: "POST /v1/x", Access: ipc.ActOwn, Handle: func(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
		var v struct{}
		return v, ipc.Decode(r, &v)
	}})
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = c.SetReadDeadline(began.Add(20 * time.Second))
	_, err = io.Copy(io.Discard, bufio.NewReader(c))
	if took := time.Since(began); err != nil || took > 15*time.Second {
		t.Errorf("the connection was open for %v: %v", took, err)
	}
}

// TestCallersWaitForTheirTurn: while others connect faster than the service takes them,
// the kernel refuses more. Who calls then waits, and the watchdog's question too.
func TestCallersWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err = errors.Join(err, unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), path))
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	answer := make(chan error)
	go func() { answer <- ipc.Dial(path).Alive(t.Context()) }()
	select {
	case err := <-answer:
		t.Fatalf("no room, and at once: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	h, err := ipc.NewHandler(slog.New(slog.DiscardHandler), []ipc.Route{{Pattern: "GET /v1/alive", Access: ipc.ReadOwn, Handle: func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
		return struct{}{}, nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- ipc.Serve(ctx, l, h) }()
	if err := <-answer; err != nil {
		t.Errorf("once there is room: %v", err)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestRootGetsIn: where those with the uids of many have taken all there is, root can
// still look.
func TestRootGetsIn(t *testing.T) {
	l := ipc.NewCounter()
	for uid := range uint32(8000) {
		l(100000 + uid)
	}
	if l(1000) {
		t.Error("there is room still")
	}
	for n := range 5 {
		if got, want := l(0), n < 4; got != want {
			t.Errorf("connection %d of root: admitted %v", n+1, got)
		}
	}
}

package ipc_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

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

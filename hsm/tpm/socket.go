package tpm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a kept stream to swtpm's command socket, which takes raw TPM
// commands.
type socket struct{ conn *net.UnixConn }

func dialSocket(ctx context.Context, path string) (wire, error) {
	c, err := dialUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("dial %s: not a unix socket", path)
	}
	return &socket{conn}, nil
}

// dialUnix gives swtpm a moment to notice that whoever was connected before has
// hung up: its queue has room for one, and is full until then.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	const moment, pause = 500 * time.Millisecond, 2 * time.Millisecond
	for end := time.Now().Add(moment); ; {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(end) {
			return c, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (s *socket) exchange(ctx context.Context, cmd []byte) ([]byte, error) {
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	rsp, err := s.roundTrip(cmd)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return rsp, err
}

func (s *socket) roundTrip(cmd []byte) ([]byte, error) {
	if _, err := s.conn.Write(cmd); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return readResponse(s.conn)
}

// alive peeks: between commands a living TPM has nothing to say, and a dead one
// reads as the end of the stream.
func (s *socket) alive() bool {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return false
	}
	idle := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		idle = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err == nil && idle
}

func (s *socket) hangUp() { _ = s.conn.Close() }

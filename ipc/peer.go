package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Peer is who holds the other end of a connection, as the kernel recorded it
// when they connected (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
	// pidfd names the very process, so that a reused PID is not mistaken for
	// it; -1 where the kernel is older than 6.5.
	pidfd int
}

// ErrGone is returned by Check when the peer's process has ended.
var ErrGone = errors.New("the caller has ended")

// Check reports ErrGone when the process that connected is no more. Callers
// check again after they waited for something slow.
func (p Peer) Check() error {
	var err error
	if p.pidfd >= 0 {
		err = unix.PidfdSendSignal(p.pidfd, 0, nil, 0)
	} else {
		err = unix.Kill(int(p.PID), 0)
	}
	// EPERM: it lives, and belongs to somebody else.
	if err != nil && !errors.Is(err, unix.EPERM) {
		return ErrGone
	}
	return nil
}

// peerOf asks the kernel who connected c.
func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	peer := Peer{pidfd: -1}
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if credErr != nil {
			return
		}
		peer.UID, peer.GID, peer.PID = cred.Uid, cred.Gid, cred.Pid
		if pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			peer.pidfd = pidfd
		}
	})
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	return peer, nil
}

// peerConn carries the peer's identity for as long as the connection lives.
type peerConn struct {
	net.Conn
	peer Peer
}

func (c *peerConn) Close() error {
	err := c.Conn.Close()
	if c.peer.pidfd >= 0 {
		_ = syscall.Close(c.peer.pidfd)
	}
	return err
}

// peerListener asks the kernel about each caller at accept, and turns away
// those it cannot name.
type peerListener struct{ net.Listener }

func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uc, ok := conn.(*net.UnixConn)
		if !ok {
			_ = conn.Close()
			return nil, fmt.Errorf("ipc: %T is not a unix socket", conn)
		}
		peer, err := peerOf(uc)
		if err != nil {
			_ = conn.Close()
			continue
		}
		return &peerConn{Conn: uc, peer: peer}, nil
	}
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.(*peerConn).peer)
}

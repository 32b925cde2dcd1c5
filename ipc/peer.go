package ipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Peer is who holds the other end of a connection, as the kernel recorded it
// when they connected (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
	// Started is when the process began, in clock ticks since the boot
	// (proc_pid_stat(5), field 22), which with PID names it; 0 where the kernel
	// does not say.
	Started uint64
	// pidfd names the very process, so that a reused PID is not mistaken for
	// it; nil where the kernel is older than 6.5. It is closed with the
	// connection. It is a File and not a number, so that who still holds the
	// Peer then, or closes twice, meets an error and no other descriptor.
	pidfd *os.File
}

// ErrGone is returned by Check when the peer's process has ended.
var ErrGone = errors.New("the caller has ended")

// Check reports ErrGone when the process that connected is no more. Callers
// check again after they waited for something slow.
func (p Peer) Check() error {
	err := p.signal()
	// EPERM: it lives, and belongs to somebody else.
	if err != nil && !errors.Is(err, unix.EPERM) {
		return ErrGone
	}
	return nil
}

// PIDFD names the very process, or is nil where the kernel cannot. It is closed
// with the connection, and by nobody else.
func (p Peer) PIDFD() *os.File { return p.pidfd }

// started asks the kernel when a process began; 0 where it does not say.
func started(pid int32) uint64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the program's name in parentheses, which may hold
	// anything but cannot hide the last of them.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const first, wanted = 3, 22
	if len(fields) <= wanted-first {
		return 0
	}
	ticks, err := strconv.ParseUint(fields[wanted-first], 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

// signal sends the signal that only asks whether there is a process.
func (p Peer) signal() error {
	if p.pidfd == nil {
		if p.Started != 0 && started(p.PID) != p.Started {
			return ErrGone // another process has its id by now
		}
		return unix.Kill(int(p.PID), 0)
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), 0, nil, 0) })
	return errors.Join(err, sent)
}

// peerOf asks the kernel who connected c.
func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	var peer Peer
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if credErr != nil {
			return
		}
		peer.UID, peer.GID, peer.PID = cred.Uid, cred.Gid, cred.Pid
		if pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			peer.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
		}
	})
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	peer.Started = started(peer.PID)
	return peer, nil
}

// peerConn carries the peer's identity for as long as the connection lives.
type peerConn struct {
	net.Conn
	peer Peer
	once sync.Once
	left func(uid uint32)
}

// Close may come more than once: the HTTP server closes idle connections as it
// ends, and each again as its loop notices.
func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.peer.pidfd != nil {
			_ = c.peer.pidfd.Close()
		}
		c.left(c.peer.UID)
	})
	return err
}

// No local user may use up the service's descriptors and shut the others out, nor
// may one with the uids of many, such as those of their containers.
const (
	// maxConns is how many connections one uid may hold open.
	maxConns = 64
	// manyConns is how many all may hold together before each uid gets fewConns.
	manyConns = 1024
	fewConns  = 4
	// allConns is more than that leaves anybody. Where the process has not the
	// descriptors for so many it is less.
	allConns = 4096
	// spareFiles are the descriptors that stay for the work itself.
	spareFiles = 1024
)

// roomFor is how many connections may be open with so many descriptors: each takes one
// of its own and one of its process.
func roomFor(files uint64) int {
	return int(min(allConns, (files-min(spareFiles, files/2))/2))
}

// peerListener asks the kernel about each caller at accept, and turns away
// those it cannot name and those who hold too many connections already.
type peerListener struct {
	net.Listener
	room int
	mu   sync.Mutex // guards open and all
	open map[uint32]int
	all  int
}

func newPeerListener(l net.Listener) *peerListener {
	room := allConns
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		room = roomFor(files.Cur)
	}
	return &peerListener{Listener: l, room: room, open: map[uint32]int{}}
}

func (l *peerListener) Accept() (net.Conn, error) {
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
		admitted := l.enter(peer.UID)
		pc := &peerConn{Conn: uc, peer: peer, left: l.leave}
		if !admitted {
			_ = pc.Close()
			continue
		}
		return pc, nil
	}
}

// enter counts a connection in, and reports whether there is room for it.
func (l *peerListener) enter(uid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[uid]++
	l.all++
	own := l.open[uid]
	if uid == 0 && own <= fewConns {
		return true // who is to find out what is wrong
	}
	return own <= maxConns && l.all <= l.room && (l.all <= min(manyConns, l.room/2) || own <= fewConns)
}

func (l *peerListener) leave(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[uid]--; l.open[uid] == 0 {
		delete(l.open, uid)
	}
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.(*peerConn).peer)
}

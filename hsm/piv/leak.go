//go:build cgo

package piv

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// daemonSocket is the last part of the path where pcscd listens; libpcsclite
// takes another path from the environment.
const daemonSocket = "pcscd.comm"

// daemonSockets lists this process's connections to pcscd.
func daemonSockets() map[int]bool {
	sockets := map[int]bool{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		peer, err := unix.Getpeername(fd)
		if unixPeer, ok := peer.(*unix.SockaddrUnix); err == nil && ok && isDaemon(unixPeer.Name) {
			sockets[fd] = true
		}
	}
	return sockets
}

func isDaemon(path string) bool {
	return filepath.Base(path) == daemonSocket || path != "" && path == os.Getenv("PCSCLITE_CSOCK_NAME")
}

// hangUpSince ends the connections to pcscd that were not there before. The
// descriptors stay open, since the library still believes that they are its own.
func hangUpSince(before map[int]bool) {
	for fd := range daemonSockets() {
		if !before[fd] {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		}
	}
}

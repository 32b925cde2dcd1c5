package ipc

import "net"

// Named makes the listener that knows its peers, as Serve does.
func Named(l net.Listener) net.Listener { return newPeerListener(l) }

// MaxConns and MaxBody are the bounds under test.
const (
	MaxConns = maxConns
	MaxBody  = maxBody
)

package ipc

import "net"

// Named makes the listener that knows its peers, as Serve does.
func Named(l net.Listener) net.Listener { return newPeerListener(l) }

// NewCounter counts connections in by their uid, and says which are admitted.
func NewCounter() func(uid uint32) bool { return newPeerListener(nil).enter }

// MaxConns and MaxBody are the bounds under test.
const (
	MaxConns = maxConns
	MaxBody  = maxBody
)

// Choose chooses between sockets.
var Choose = choose

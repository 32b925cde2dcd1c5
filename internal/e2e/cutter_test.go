package e2e

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// cutter is a bad network in front of a server: it passes bytes on and cuts each
// connection after so many of them, wherever that is in a message. Of what the
// server had said by then the rest is lost.
type cutter struct {
	listener net.Listener
	server   string
	dice     *dice
	bad      atomic.Bool
	cuts     atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool
}

func startCutter(tb testing.TB, server string, d *dice) *cutter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &cutter{listener: l, server: server, dice: d, open: map[net.Conn]bool{}}
	go c.accept()
	tb.Cleanup(func() { _ = l.Close() })
	return c
}

func (c *cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		go c.pass(client)
	}
}

// pass passes on what both say, until the one whose bytes are counted has said
// enough.
func (c *cutter) pass(client net.Conn) {
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		_ = client.Close()
		return
	}
	c.track(client, true)
	var once sync.Once
	end := func() { once.Do(func() { c.track(client, false); reset(client); reset(server) }) }
	up, down := io.Reader(client), io.Reader(server)
	if c.bad.Load() {
		// A handshake takes five thousand bytes of the server's and two of the
		// device's, and a decision with its answer three more of each.
		if most := int64(2000 + c.dice.below(14000)); c.dice.below(2) == 0 {
			up = io.LimitReader(client, most)
		} else {
			down = io.LimitReader(server, most)
		}
		c.cuts.Add(1)
	}
	go func() { _, _ = io.Copy(server, up); end() }()
	go func() { _, _ = io.Copy(client, down); end() }()
}

// set makes the network bad or good, for new connections: it cuts all.
func (c *cutter) set(bad bool) {
	c.bad.Store(bad)
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		reset(conn)
	}
}

func (c *cutter) track(conn net.Conn, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.open[conn] = true
	} else {
		delete(c.open, conn)
	}
}

// reset ends a connection without a word.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

package e2e

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// TestIPv6Literal: addresses in brackets, in flags, links and messages.
func TestIPv6Literal(t *testing.T) {
	t.Parallel()
	s := startServerOn(t, "[::1]:0", "[::1]:0")
	if !strings.HasPrefix(s.issuer, "https://[::1]:") || !strings.HasPrefix(s.device, "https://[::1]:") {
		t.Errorf("the server is %s, %s", s.issuer, s.device)
	}
	link := s.link()
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("server") != s.device {
		t.Errorf("the link is for %s, %v", u.Query().Get("server"), err)
	}
	d := startDevice(t)
	d.enroll(link)
	s.learned(d)
	d.confirms(newPortal(t, s))
}

// TestIPv6Only: where there is nothing else.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.open()
	for _, network := range []*testenv.NetNS{n.device, n.server} {
		network.IP("-4", "address", "flush", "dev", "eth0")
		network.IP("-4", "address", "flush", "dev", "lo")
	}
	s := n.serve(serverIP6)
	d := n.computer("")
	d.start()
	d.enroll(s.link())
	s.learned(d)
	d.connected()
	d.confirms(newPortal(t, s))
}

// TestOneFamilyIsDead: a name has addresses of both, and what is sent to one of them
// gets lost. The other is tried soon (RFC 8305), and nobody waits for a time limit.
func TestOneFamilyIsDead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ dead, listen string }{{serverIP6, serverIP}, {serverIP, serverIP6}} {
		n := newInternet(t)
		n.open()
		// What is dropped is answered by nobody.
		n.middle.IP("route", "add", "blackhole", c.dead)
		n.server.Hosts(c.listen + " auth.test")
		n.device.Hosts(serverIP6+" auth.test", serverIP+" auth.test")
		s := &server{tb: t, data: filepath.Join(t.TempDir(), "server"), log: new(testenv.Log), net: n.server}
		s.begin(net.JoinHostPort(c.listen, "8444"), net.JoinHostPort(c.listen, "8443"), "--issuer", "https://auth.test:8444", "--device-url", "https://auth.test:8443")
		d := n.computer("")
		d.start()
		begin := time.Now()
		d.enroll(s.link())
		s.learned(d)
		d.connected()
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("with %s dead it took %v", c.dead, took)
		}
		d.reload()
		s.issuer = "https://" + net.JoinHostPort(c.listen, "8444")
		d.confirms(newPortal(t, s))
	}
}

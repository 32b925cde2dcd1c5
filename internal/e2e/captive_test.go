package e2e

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"countersign/internal/testenv"
	"countersign/protocol"
)

// loginPage is a network's that answers in a server's place. It writes down what it is
// told.
type loginPage struct {
	n       *internet
	address string

	mu      sync.Mutex
	told    []string
	certs   int
	servers []*http.Server
}

// takeOver has what lies between answer at the server's address, in one of the ways
// that networks have: with TLS up to a version, or 0 without.
func (n *internet) takeOver(s *server, version uint16, h http.Handler) *loginPage {
	n.t.Helper()
	p := &loginPage{n: n, address: hostOf(n.t, s.device)}
	n.middle.IP("address", "add", serverIP+"/32", "dev", "lo")
	srv := &http.Server{Handler: p.recorded(h), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	p.servers = append(p.servers, srv)
	l := n.middle.Listen(p.address)
	if version != 0 {
		cert, _ := authority(n.t, serverIP)
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12, MaxVersion: version}
		go func() { _ = srv.ServeTLS(l, "", "") }()
	} else {
		go func() { _ = srv.Serve(l) }()
	}
	return p
}

func (p *loginPage) recorded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.told = append(p.told, r.Method+" "+r.URL.Path+string(body))
		if r.Header.Get("Authorization") != "" || r.Header.Get(protocol.HeaderTrust) != "" {
			p.told = append(p.told, "a header of ours")
		}
		if r.TLS != nil {
			p.certs += len(r.TLS.PeerCertificates)
		}
		p.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// lift lets the server answer again.
func (p *loginPage) lift() {
	p.n.t.Helper()
	for _, srv := range p.servers {
		_ = srv.Close()
	}
	p.n.middle.IP("address", "del", serverIP+"/32", "dev", "lo")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, call := range p.told {
		if call != "GET "+protocol.PathTrust {
			p.n.t.Errorf("the login page was told %q", call)
		}
	}
	if p.certs > 0 {
		p.n.t.Error("the login page was shown the device's certificate")
	}
}

// behind passes everything on to the real server, over TLS of its own.
func behind(n *internet, address string) http.Handler {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext:     n.server.Dial,
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := client.Get("https://" + address + r.URL.RequestURI())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
}

// TestLoginPageOfTheNetwork is named, told nothing, and waited for; and once it lifts
// the device is back within seconds.
func TestLoginPageOfTheNetwork(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.open()
	s := n.serve(serverIP)
	d := n.computer("")
	d.start()
	d.enroll(s.link())
	d.connected()
	portal := newPortal(t, s)
	page := func(status int, header ...string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>Welcome to our hotel</html>")
		})
	}
	for name, c := range map[string]struct {
		secure uint16
		answer http.Handler
		code   string
		words  string
	}{
		"a redirect":                      {tls.VersionTLS13, page(302, "Location", "https://login.example/"), "captive_portal", "login page"},
		"network authentication required": {tls.VersionTLS13, page(511), "captive_portal", "login page"},
		"a page":                          {tls.VersionTLS13, page(200), "captive_portal", "login page"},
		"a redirect by old TLS":           {tls.VersionTLS12, page(302, "Location", "https://login.example/"), "captive_portal", "login page"},
		"no TLS at all":                   {0, page(302, "Location", "http://login.example/"), "captive_portal", "login page"},
		"a proxy that looks into TLS":     {tls.VersionTLS13, behind(n, hostOf(t, s.device)), "intercepted", "ends TLS"},
		"somebody else":                   {tls.VersionTLS13, http.NotFoundHandler(), "intercepted", "no certificate of the server's"},
	} {
		login := n.takeOver(s, c.secure, c.answer)
		d.fails(c.code)
		detail := ""
		testenv.Eventually(t, name+" to be told from others", func() bool {
			detail, _ = d.finding(c.code)
			return strings.Contains(detail, c.words)
		})
		if strings.Contains(detail, "hotel") {
			t.Errorf("%s: its words are shown: %s", name, detail)
		}
		login.lift()
		d.connected()
	}
	d.confirms(portal)
}

// TestNamesAllLeadToTheLoginPage: every name is given one address.
func TestNamesAllLeadToTheLoginPage(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.open()
	n.server.Hosts(serverIP + " auth.test")
	n.device.Hosts(serverIP + " auth.test")
	s := n.serve("auth.test")
	d := n.computer("")
	d.start()
	d.enroll(s.link())
	d.connected()
	_, port, err := net.SplitHostPort(hostOf(t, s.device))
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := authority(t, gateway)
	srv := &http.Server{
		Handler:   http.RedirectHandler("https://login.example/", http.StatusFound),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	l := n.middle.Listen(net.JoinHostPort(gateway, port))
	go func() { _ = srv.ServeTLS(l, "", "") }()
	n.device.Rename(gateway + " auth.test")
	n.middle.IP("link", "set", "server0", "down") // what is connected goes too
	d.proc.stop()
	d.start()
	d.fails("captive_portal")
	n.middle.IP("link", "set", "server0", "up")
	n.device.Rename(serverIP + " auth.test")
	d.connected()
	_ = srv.Close()
}

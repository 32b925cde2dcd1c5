package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/agent/upstream"
	"countersign/internal/secret"
	"countersign/protocol"
)

// deviceAt is a client for a server's URLs.
func deviceAt(t *testing.T, n upstream.Network, roots []*authority, urls ...string) *upstream.Client {
	t.Helper()
	s := upstream.Server{URLs: urls}
	for _, r := range roots {
		s.Roots = append(s.Roots, r.cert.Raw)
	}
	own := makeCert(t, x509.Certificate{Subject: pkix.Name{CommonName: "device"}}, nil)
	c, err := n.ForDevice(s, tls.Certificate{Certificate: [][]byte{own.cert.Raw}, PrivateKey: own.key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestRootsAreSaid: the server is told in the handshake which roots are trusted, and
// the connection speaks HTTP/2 all the same.
func TestRootsAreSaid(t *testing.T) {
	old, next := newRoot(t), newRoot(t)
	said := make(chan []string, 1)
	proto := make(chan string, 1)
	srv := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto <- r.Proto
		w.WriteHeader(http.StatusNoContent)
	}), makeCert(t, leafTemplate(), next), next)
	srv.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		said <- hello.SupportedProtos
		return nil, nil //nolint:nilnil // as it was
	}
	c := deviceAt(t, upstream.Network{}, []*authority{old, next}, srv.URL)
	if _, _, _, err := c.Fetch(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	if p := <-proto; p != "HTTP/2.0" {
		t.Errorf("it speaks %s", p)
	}
	protos := strings.Join(<-said, " ")
	for _, r := range []*authority{old, next} {
		if !strings.Contains(protos, protocol.RootProtocol(protocol.SPKI(r.cert))) {
			t.Errorf("said is %s", protos)
		}
	}
}

// TestNextURLIsTried where one does not answer, and the one that did stays.
func TestNextURLIsTried(t *testing.T) {
	root := newRoot(t)
	calls := 0
	srv := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusNoContent)
	}), makeCert(t, leafTemplate(), root), root)
	c := deviceAt(t, upstream.Network{}, []*authority{root}, "https://127.0.0.1:1", srv.URL)
	if _, _, _, err := c.Fetch(t.Context(), "", 0); !errors.Is(err, upstream.ErrUnreachable) {
		t.Errorf("where nobody listens: %v", err)
	}
	for range 3 {
		if _, _, _, err := c.Fetch(t.Context(), "", 0); err != nil {
			t.Error(err)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
	if err := c.Move(upstream.Server{URLs: []string{"https://127.0.0.1:1"}, Roots: [][]byte{root.cert.Raw}}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := c.Fetch(t.Context(), "", 0); err == nil {
		t.Error("it goes on where the server was")
	}
}

// TestMoveTakesThePollAlong: a poll under way goes on where the server is now.
func TestMoveTakesThePollAlong(t *testing.T) {
	root := newRoot(t)
	waiting := make(chan struct{}, 1)
	old := tlsServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		waiting <- struct{}{}
		<-r.Context().Done()
	}), makeCert(t, leafTemplate(), root), root)
	next := tlsServer(t, answer(200, "application/json", `{"now":7,"requests":["a"]}`), makeCert(t, leafTemplate(), root), root)
	c := deviceAt(t, upstream.Network{}, []*authority{root}, old.URL)
	got := make(chan error, 1)
	go func() {
		_, _, _, err := c.Fetch(t.Context(), "", 55*time.Second)
		got <- err
	}()
	<-waiting
	if err := c.Move(upstream.Server{URLs: []string{next.URL}, Roots: [][]byte{root.cert.Raw}}); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// loopbackName makes a URL that proxies are used for: they are not for loopback.
func loopbackName(url string) string { return strings.Replace(url, "127.0.0.1", "server.test", 1) }

// connect is a proxy that leads every CONNECT to one address, or answers with a status.
func connect(t *testing.T, status int, to string, auth chan<- string) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth != nil {
			auth <- r.Header.Get("Proxy-Authorization")
		}
		if r.Method != http.MethodConnect || status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		pass(t.Context(), w, to)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

func pass(ctx context.Context, w http.ResponseWriter, to string) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer conn.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(conn, client) }()
	_, _ = io.Copy(client, conn)
}

// TestProxyByConfiguration is used with the password of that moment, which stands in
// no error; and hosts that are exempt are reached without it.
func TestProxyByConfiguration(t *testing.T) {
	root := newRoot(t)
	leaf := leafTemplate()
	leaf.DNSNames = []string{"server.test"}
	srv := tlsServer(t, answer(204, "", ""), makeCert(t, leaf, root), root)
	address := strings.TrimPrefix(srv.URL, "https://")
	auth := make(chan string, 8)
	password := "one"
	p := upstream.Proxy{URL: connect(t, 200, address, auth), User: "alice", Password: func() (secret.Value, error) { return secret.New([]byte(password)), nil }}
	for _, want := range []string{"Basic YWxpY2U6b25l", "Basic YWxpY2U6dHdv"} {
		c := deviceAt(t, upstream.Through(p), []*authority{root}, loopbackName(srv.URL))
		if _, _, _, err := c.Fetch(t.Context(), "", 0); err != nil {
			t.Fatal(err)
		}
		if got := <-auth; got != want {
			t.Errorf("the proxy is told %q, want %q", got, want)
		}
		password = "two"
	}
	p.Exempt = ".test"
	c := deviceAt(t, upstream.Through(p), []*authority{root}, loopbackName(srv.URL))
	if _, _, _, err := c.Fetch(t.Context(), "", 0); err == nil || len(auth) > 0 {
		t.Errorf("an exempt host is reached through the proxy: %v", err)
	}
	p.Exempt, p.URL = "", connect(t, http.StatusProxyAuthRequired, "", auth)
	c = deviceAt(t, upstream.Through(p), []*authority{root}, loopbackName(srv.URL))
	if _, _, _, err := c.Fetch(t.Context(), "", 0); err == nil || strings.Contains(err.Error(), "two") || strings.Contains(err.Error(), "dHdv") {
		t.Errorf("the refusal is %v", err)
	}
}

// TestFaultsAreSorted by where they were.
func TestFaultsAreSorted(t *testing.T) {
	root := newRoot(t)
	good := tlsServer(t, answer(204, "", ""), makeCert(t, leafTemplate(), root), root)
	at := func(from, until time.Duration) *authority {
		leaf := leafTemplate()
		leaf.NotBefore, leaf.NotAfter = time.Now().Add(from), time.Now().Add(until)
		return makeCert(t, leaf, root)
	}
	old := makeCert(t, x509.Certificate{Subject: pkix.Name{CommonName: "old root"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-9, 0, 0), NotAfter: time.Now().AddDate(9, 0, 0)}, nil)
	past := leafTemplate()
	past.NotBefore, past.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	expired := tlsServer(t, answer(204, "", ""), makeCert(t, past, old), old)
	strangers := tlsServer(t, answer(204, "", ""), makeCert(t, past, newRoot(t)))
	later := tlsServer(t, answer(204, "", ""), at(20*time.Minute, 40*time.Minute), root)
	named := leafTemplate()
	named.DNSNames = []string{"server.test"}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.RedirectHandler("http://login.example/", http.StatusFound)}
	go func() { _ = page.Serve(plain) }()
	t.Cleanup(func() { _ = page.Close() })
	redirects := tlsServer(t, http.RedirectHandler("https://login.example/", http.StatusFound), makeCert(t, leafTemplate(), root), root)
	broken := tlsServer(t, answer(502, "text/plain", "\x1b[31m"), makeCert(t, leafTemplate(), root), root)
	through := func(status int) upstream.Network {
		return upstream.Through(upstream.Proxy{URL: connect(t, status, "", nil)})
	}
	for name, c := range map[string]struct {
		network upstream.Network
		roots   []*authority
		url     string
		want    upstream.Kind
	}{
		"nobody listens":        {upstream.Network{}, []*authority{root}, "https://127.0.0.1:1", upstream.ServerUnreachable},
		"no such name":          {upstream.Through(upstream.Proxy{}), []*authority{root}, "https://nowhere.invalid", upstream.NameUnresolved},
		"another root":          {upstream.Network{}, []*authority{newRoot(t)}, good.URL, upstream.Intercepted},
		"another name":          {upstream.Network{}, []*authority{root}, strings.Replace(good.URL, "127.0.0.1", "127.0.0.2", 1), upstream.ServerUnreachable},
		"expired":               {upstream.Network{}, []*authority{old}, expired.URL, upstream.WrongClock},
		"not yet good":          {upstream.Network{}, []*authority{root}, later.URL, upstream.WrongClock},
		"a stranger's, expired": {upstream.Network{}, []*authority{old}, strangers.URL, upstream.Intercepted},
		"no TLS":                {upstream.Network{}, []*authority{root}, "https://" + plain.Addr().String(), upstream.CaptivePortal},
		"a redirect, proven":    {upstream.Network{}, []*authority{root}, redirects.URL, upstream.ServerUnreachable},
		"a broken server":       {upstream.Network{}, []*authority{root}, broken.URL, upstream.ServerUnreachable},
		"no proxy there":        {upstream.Through(upstream.Proxy{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}), []*authority{root}, "https://server.test", upstream.ProxyUnreachable},
		"a proxy without TLS":   {upstream.Through(upstream.Proxy{URL: &url.URL{Scheme: "https", Host: plain.Addr().String()}}), []*authority{root}, "https://server.test", upstream.ProxyUnreachable},
		"the proxy asks":        {through(407), []*authority{root}, "https://server.test", upstream.ProxyAuth},
		"the proxy says no":     {through(403), []*authority{root}, "https://server.test", upstream.ProxyRefused},
		"the proxy looks in":    {upstream.Through(upstream.Proxy{URL: connect(t, 200, strings.TrimPrefix(good.URL, "https://"), nil)}), []*authority{newRoot(t)}, "https://server.test", upstream.Intercepted},
		"the proxy fails":       {through(502), []*authority{root}, "https://server.test", upstream.ServerUnreachable},
	} {
		client := deviceAt(t, c.network, c.roots, c.url)
		_, _, _, err := client.Fetch(t.Context(), "", 0)
		if got := upstream.KindOf(err); err == nil || got != c.want {
			t.Errorf("%s: %s, want %s: %v", name, got, c.want, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%s: somebody's words are in %q", name, err)
		}
		if hasty := client.Hasty(); hasty != (c.want == upstream.CaptivePortal) {
			t.Errorf("%s: hasty is %v", name, hasty)
		}
	}
}

package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/agent/upstream"
	"countersign/internal/testenv"
)

// listen has f answer each connection.
func listen(t *testing.T, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// says is a server that answers whatever it is told.
func says(t *testing.T, text string) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, text)
	})
}

// status is a proxy's answer to CONNECT.
func status(line string, header ...string) string {
	return strings.Join(append([]string{"HTTP/1.1 " + line}, header...), "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

func named(scheme, address string) upstream.Network {
	return upstream.Through(upstream.Proxy{URL: &url.URL{Scheme: scheme, Host: address}})
}

// openssl is a TLS server that is not Go's: it closes without a word on who comes
// without TLS.
func openssl(t *testing.T, args ...string) (address string) {
	t.Helper()
	testenv.Need(t, "openssl")
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key"), filepath.Join(dir, "cert")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=proxy").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	_ = free.Close()
	cmd := exec.Command("openssl", append([]string{"s_server", "-accept", address, "-key", key, "-cert", cert, "-quiet"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testenv.Eventually(t, "openssl to listen", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// failure is what a call comes to.
func failure(t *testing.T, n upstream.Network, address string) error {
	t.Helper()
	c := deviceAt(t, n, []*authority{newRoot(t)}, address)
	_, _, _, err := c.Fetch(t.Context(), "", 0)
	if !errors.Is(err, upstream.ErrUnreachable) {
		t.Fatalf("it comes to %v", err)
	}
	return err
}

// TestProxyByTheWrongScheme is told as that, with the right one, whatever the proxy
// does about it.
func TestProxyByTheWrongScheme(t *testing.T) {
	t.Parallel()
	front := makeCert(t, leafTemplate(), newRoot(t))
	cert := tls.Certificate{Certificate: [][]byte{front.cert.Raw}, PrivateKey: front.key}
	page := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	for name, c := range map[string]struct{ scheme, address, right string }{
		"TLS that sends an alert": {"http", listen(t, func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		}), "https"},
		"TLS that says so in HTTP": {"http", page.Listener.Addr().String(), "https"},
		"TLS that closes":          {"http", openssl(t), "https"},
		"HTTP that answers":        {"https", says(t, status("400 Bad Request")), "http"},
		"HTTP that waits for more": {"https", connect(t, http.StatusBadGateway, "", nil).Host, "http"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := failure(t, named(c.scheme, c.address), "https://server.test")
			if kind := upstream.KindOf(err); kind != upstream.ProxyUnreachable {
				t.Errorf("it is %s: %v", kind, err)
			}
			if f := upstream.ProxyFaultOf(err); f.Instead != c.right+"://"+c.address {
				t.Errorf("to be written is %q: %v", f.Instead, err)
			}
		})
	}
}

// TestProxyFaultsAreSorted by whose they are.
func TestProxyFaultsAreSorted(t *testing.T) {
	t.Parallel()
	silent := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	slow := listen(t, func(conn net.Conn) {
		start := make([]byte, 7)
		if _, err := io.ReadFull(conn, start); err == nil && string(start) != "CONNECT" {
			_, _ = io.WriteString(conn, status("501 Not Implemented"))
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	for name, c := range map[string]struct {
		network upstream.Network
		want    upstream.Kind
	}{
		"it closes":                   {named("http", listen(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) })), upstream.ProxyUnreachable},
		"it is something else":        {named("http", says(t, "SSH-2.0-\x1b[31m\r\n")), upstream.ProxyUnreachable},
		"it says nothing":             {named("http", silent), upstream.ProxyUnreachable},
		"it waits for the server":     {named("http", slow), upstream.ServerUnreachable},
		"nobody knows its name":       {named("http", "proxy.invalid:3128"), upstream.ProxyUnreachable},
		"it is an IPv6 address":       {named("http", "[::1]:1"), upstream.ProxyUnreachable},
		"TLS, as an IPv6 address":     {named("https", "[::1]:1"), upstream.ProxyUnreachable},
		"forbidden":                   {named("http", says(t, status("403 Forbidden"))), upstream.ProxyRefused},
		"it knows no CONNECT":         {named("http", says(t, status("501 Not Implemented"))), upstream.ProxyRefused},
		"it does not know the server": {named("http", says(t, status("502 Bad Gateway"))), upstream.ServerUnreachable},
		"it has no time":              {named("http", says(t, status("503 Service Unavailable"))), upstream.ServerUnreachable},
		"it has waited for long":      {named("http", says(t, status("504 Gateway Timeout"))), upstream.ServerUnreachable},
		"a login page by its status":  {named("http", says(t, status("511 Network Authentication Required"))), upstream.CaptivePortal},
		"a login page by a redirect":  {named("http", says(t, status("302 Found", "Location: http://login.example/"))), upstream.CaptivePortal},
		"it asks for something else":  {named("http", says(t, status("407 X", "Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM"))), upstream.ProxyAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := failure(t, c.network, "https://server.test")
			if kind := upstream.KindOf(err); kind != c.want {
				t.Errorf("it is %s, want %s: %v", kind, c.want, err)
			}
			if upstream.Distrusted(err) || strings.Contains(err.Error(), "SSH") {
				t.Errorf("told as %v", err)
			}
		})
	}
}

// TestWhatAProxyAsksFor is told from a name or password that it does not take.
func TestWhatAProxyAsksFor(t *testing.T) {
	for name, c := range map[string]struct {
		answer         string
		user           *url.Userinfo
		given, foreign bool
	}{
		"a name":             {status("407 X", `Proxy-Authenticate: Basic realm="a"`), nil, false, false},
		"another name":       {status("407 X", `Proxy-Authenticate: Negotiate, BASIC realm="a"`), url.UserPassword("alice", "hunter2"), true, false},
		"it does not say":    {status("407 X"), nil, false, false},
		"what is not known":  {status("407 X", "Proxy-Authenticate: Negotiate"), url.UserPassword("alice", "hunter2"), true, true},
		"by a server's code": {status("401 X"), nil, false, false},
	} {
		n := upstream.Through(upstream.Proxy{URL: &url.URL{Scheme: "http", Host: says(t, c.answer), User: c.user}})
		err := failure(t, n, "https://server.test")
		if f := upstream.ProxyFaultOf(err); upstream.KindOf(err) != upstream.ProxyAuth || f.Given != c.given || f.Foreign != c.foreign {
			t.Errorf("%s: %+v: %v", name, f, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
}

// TestProxyNameIsToldFromTheServers where name servers do not know it.
func TestProxyNameIsToldFromTheServers(t *testing.T) {
	proxys := failure(t, named("http", "proxy.invalid:3128"), "https://server.test")
	servers := failure(t, upstream.Through(upstream.Proxy{}), "https://server.invalid")
	if !upstream.ProxyFaultOf(proxys).Unresolved || upstream.KindOf(servers) != upstream.NameUnresolved {
		t.Errorf("the proxy's: %v; the server's: %v", proxys, servers)
	}
}

// TestProxyOfTheEnvironment that is no URL is a fault of its own: nothing goes out
// without it, and nothing of it is told.
func TestProxyOfTheEnvironment(t *testing.T) {
	for _, text := range []string{"http://alice:hunter2@proxy.example:port", "http://alice:hunter%2@proxy.example", "ftp://alice:hunter2@proxy.example"} {
		t.Setenv("HTTPS_PROXY", text)
		err := failure(t, upstream.Network{}, "https://server.test")
		if upstream.KindOf(err) != upstream.ProxyUnreachable || !strings.Contains(err.Error(), "HTTPS_PROXY") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", text, err)
		}
		t.Setenv("NO_PROXY", ".invalid")
		if err := failure(t, upstream.Network{}, "https://server.invalid"); upstream.KindOf(err) != upstream.NameUnresolved {
			t.Errorf("a server that is exempt: %v", err)
		}
	}
	t.Setenv("HTTPS_PROXY", "http://alice:hunter2@"+says(t, status("403 Forbidden")))
	if err := failure(t, upstream.Network{}, "https://server.test"); upstream.KindOf(err) != upstream.ProxyRefused || strings.Contains(err.Error(), "hunter") {
		t.Errorf("one that refuses: %v", err)
	}
}

// TestSOCKS is what the environment may name too.
func TestSOCKS(t *testing.T) {
	socks := func(reply ...byte) string {
		return listen(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 64))
			_, _ = conn.Write(reply[:2])
			_, _ = conn.Read(make([]byte, 512))
			_, _ = conn.Write(reply[2:])
		})
	}
	result := func(code byte) []byte { return []byte{5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0} }
	for name, c := range map[string]struct {
		address string
		want    upstream.Kind
	}{
		"it lets nothing through":    {socks(result(2)...), upstream.ProxyRefused},
		"the server does not answer": {socks(result(5)...), upstream.ServerUnreachable},
		"it asks":                    {socks(5, 0xff), upstream.ProxyAuth},
		"it is none":                 {says(t, status("400 Bad Request")), upstream.ProxyUnreachable},
		"nobody is there":            {"127.0.0.1:1", upstream.ProxyUnreachable},
	} {
		t.Setenv("HTTPS_PROXY", "socks5://"+c.address)
		if err := failure(t, upstream.Network{}, "https://server.test"); upstream.KindOf(err) != c.want {
			t.Errorf("%s: %s, want %s: %v", name, upstream.KindOf(err), c.want, err)
		}
	}
}

// TestExemptions are by name, address, network and port, as NO_PROXY has them.
func TestExemptions(t *testing.T) {
	var asked atomic.Int32
	proxy := listen(t, func(conn net.Conn) {
		asked.Add(1)
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, status("403 Forbidden"))
	})
	for exempt, c := range map[string]struct{ direct, through []string }{
		"192.0.2.0/25":      {[]string{"192.0.2.7", "192.0.2.127:8443"}, []string{"192.0.2.128"}},
		"192.0.2.7:8443":    {[]string{"192.0.2.7:8443"}, []string{"192.0.2.7", "192.0.2.7:8444"}},
		"2001:db8::/33":     {[]string{"[2001:db8::1]:8443"}, []string{"[2001:db8:8000::1]:8443"}},
		"[2001:db8::1]:843": {[]string{"[2001:db8::1]:843"}, []string{"[2001:db8::1]"}},
		"a.invalid:8443":    {[]string{"a.invalid:8443", "b.a.invalid:8443"}, []string{"a.invalid", "ba.invalid:8443"}},
		"*.a.invalid":       {[]string{"b.a.invalid"}, []string{"a.invalid"}},
	} {
		n := upstream.Through(upstream.Proxy{URL: &url.URL{Scheme: "http", Host: proxy}, Exempt: exempt})
		for direct, list := range map[bool][]string{true: c.direct, false: c.through} {
			for _, host := range list {
				before := asked.Load()
				device := deviceAt(t, n, []*authority{newRoot(t)}, "https://"+host)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second/4)
				_, _, _, err := device.Fetch(ctx, "", 0)
				cancel()
				if through := asked.Load() > before; err == nil || through == direct {
					t.Errorf("%q: %s goes through the proxy: %v: %v", exempt, host, through, err)
				}
			}
		}
	}
}

// TestOldTLS is not the server's: what answers so is in its place, and is looked at as
// what has another certificate is.
func TestOldTLS(t *testing.T) {
	login := httptest.NewUnstartedServer(http.RedirectHandler("https://login.example/", http.StatusFound))
	login.TLS = &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	login.StartTLS()
	t.Cleanup(login.Close)
	for name, address := range map[string]string{
		"Go's":                     strings.TrimPrefix(login.URL, "https://"),
		"OpenSSL's":                openssl(t, "-tls1_2"),
		"without a cipher of ours": openssl(t, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"),
	} {
		err := failure(t, upstream.Through(upstream.Proxy{}), "https://"+address)
		if !upstream.Distrusted(err) || upstream.KindOf(err) != upstream.Intercepted {
			t.Errorf("%s: %s: %v", name, upstream.KindOf(err), err)
		}
	}
	c := deviceAt(t, upstream.Through(upstream.Proxy{}), []*authority{newRoot(t)}, login.URL)
	anybody := c.Anybody()
	defer anybody.Close()
	if err := anybody.TrustDocument(t.Context(), func([]byte) error { return nil }); upstream.KindOf(err) != upstream.CaptivePortal {
		t.Errorf("whoever answers is not asked: %v", err)
	}
}

// TestNobodysWordsArePassedOn where an answer cannot be read: neither a proxy's, nor
// that of whoever is in the server's place.
func TestNobodysWordsArePassedOn(t *testing.T) {
	front := makeCert(t, leafTemplate(), newRoot(t))
	cert := tls.Certificate{Certificate: [][]byte{front.cert.Raw}, PrivateKey: front.key}
	for _, answer := range []string{"HTTP/1.1 pwned\r\n\r\n", "HTTP/1.1 302 X\r\npwned\r\n\r\n", "HTTP/1.1 302 X\r\nX: " + strings.Repeat("pwned", 1<<20) + "\r\n\r\n"} {
		if err := failure(t, named("http", says(t, answer)), "https://server.test"); strings.Contains(err.Error(), "pwned") {
			t.Errorf("a proxy's: %.200s", err)
		}
		stranger := listen(t, func(conn net.Conn) {
			outer := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			_, _ = outer.Read(make([]byte, 4096))
			_, _ = io.WriteString(outer, answer)
		})
		anybody := deviceAt(t, upstream.Network{}, []*authority{newRoot(t)}, "https://"+stranger).Anybody()
		if err := anybody.TrustDocument(t.Context(), func([]byte) error { return nil }); err == nil || strings.Contains(err.Error(), "pwned") {
			t.Errorf("a stranger's: %.200v", err)
		}
		anybody.Close()
	}
}

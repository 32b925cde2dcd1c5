package upstream

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"countersign/internal/secret"
)

// Network is how servers are reached. Its zero value goes by the environment:
// HTTPS_PROXY and NO_PROXY, as curl and others do.
type Network struct {
	proxy *proxy
}

// Proxy says which proxy leads to servers.
type Proxy struct {
	// URL is http://HOST:PORT or https://HOST:PORT without a user; nil is none.
	URL *url.URL
	// Exempt are hosts that are reached without it, as NO_PROXY has them.
	Exempt string
	// User and Password are for a proxy that asks; "" and nil where it does not. The
	// password is asked for whenever a connection is made, so that it may change.
	User     string
	Password func() (secret.Value, error)
}

// Through is a network with this proxy, whatever the environment says.
func Through(p Proxy) Network {
	config := httpproxy.Config{NoProxy: p.Exempt}
	if p.URL != nil {
		config.HTTPSProxy = p.URL.String()
	}
	return Network{proxy: &proxy{Proxy: p, choose: config.ProxyFunc()}}
}

// proxy is Proxy at work.
type proxy struct {
	Proxy
	choose func(*url.URL) (*url.URL, error)
}

// route is how one client makes connections.
type route struct {
	proxy *proxy // nil: the environment's
	// secure are the addresses of proxies that themselves speak TLS, by which name.
	secure sync.Map
}

// transport carries calls under a TLS configuration that is the server's alone: a
// proxy that speaks TLS is judged by the system's roots, and sees no certificate of
// the device.
func (n Network) transport(cfg *tls.Config) *http.Transport {
	r := &route{proxy: n.proxy}
	return &http.Transport{
		Proxy:                  r.choose,
		DialContext:            r.dial,
		GetProxyConnectHeader:  r.credentials,
		OnProxyConnectResponse: r.answered,
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    callTimeout,
		// One connection carries the poll and the decisions, so that the
		// chip signs one handshake; pings notice when it is dead, and keep
		// proxies from taking it for idle.
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		IdleConnTimeout:   2 * time.Minute,
	}
}

// choose is an http.Transport's Proxy. One that speaks TLS is told as one that does
// not: dial makes its TLS, since the transport would take the server's configuration
// for it.
func (r *route) choose(req *http.Request) (*url.URL, error) {
	var u *url.URL
	var err error
	if r.proxy != nil {
		u, err = r.proxy.choose(req.URL)
	} else {
		u, err = http.ProxyFromEnvironment(req)
	}
	if err != nil || u == nil || u.Scheme != "https" {
		return u, err
	}
	plain := *u
	plain.Scheme, plain.Host = "http", net.JoinHostPort(u.Hostname(), portOf(u))
	r.secure.Store(plain.Host, u.Hostname())
	return &plain, nil
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// dialTimeout bounds the making of one TCP connection, so that another address or
// another URL gets its turn.
const dialTimeout = 10 * time.Second

func (r *route) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	name, secure := r.secure.Load(address)
	if !secure {
		return conn, nil
	}
	host, _ := name.(string)
	outer := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := outer.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &proxyTLSError{err}
	}
	return outer, nil
}

// proxyTLSError says that the certificate is the proxy's, and not the server's.
type proxyTLSError struct{ cause error }

func (e *proxyTLSError) Error() string { return "TLS with the proxy: " + e.cause.Error() }

// credentials are what a configured proxy asks for. They are no part of its URL,
// which stands in errors.
func (r *route) credentials(context.Context, *url.URL, string) (http.Header, error) {
	if r.proxy == nil || r.proxy.User == "" {
		return http.Header{}, nil
	}
	password, err := r.proxy.Password()
	if err != nil {
		return nil, &proxyPasswordError{err}
	}
	defer password.Wipe()
	pair := base64.StdEncoding.EncodeToString(append([]byte(r.proxy.User+":"), password.Reveal()...))
	return http.Header{"Proxy-Authorization": {"Basic " + pair}}, nil
}

// proxyPasswordError says that there is no password to give.
type proxyPasswordError struct{ cause error }

func (e *proxyPasswordError) Error() string { return "the proxy's password: " + e.cause.Error() }

// answered is called with what a proxy says to CONNECT. Of its answer only the number
// goes on: the text is anybody's.
func (r *route) answered(_ context.Context, u *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{u.Host, resp.StatusCode}
}

// proxyRefusal is a proxy's no.
type proxyRefusal struct {
	proxy  string
	status int
}

func (e *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s refused the connection with status %d", e.proxy, e.status)
}

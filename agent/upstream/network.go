package upstream

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/idna"

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
	// proxies are the addresses of those that are asked to CONNECT, and whether they
	// are to speak TLS.
	proxies sync.Map
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
		// What answers is not always the server.
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// choose is an http.Transport's Proxy. One that speaks TLS is told as one that does
// not: dial makes its TLS, since the transport would take the server's configuration
// for it. The address is told as it will be dialed, so that dial knows it.
func (r *route) choose(req *http.Request) (*url.URL, error) {
	named := fromEnvironment
	if r.proxy != nil {
		named = r.proxy.choose
	}
	u, err := named(req.URL)
	switch {
	case err != nil:
		return nil, errProxyURL // the error has the URL, and what is in it
	case u == nil, u.Scheme == "socks5", u.Scheme == "socks5h":
		return u, nil
	case u.Scheme != "http" && u.Scheme != "https", strings.HasPrefix(u.Path, "//"): // another scheme was put before it
		return nil, errProxyURL
	}
	plain := *u
	plain.Scheme, plain.Host = "http", net.JoinHostPort(ascii(u.Hostname()), portOf(u))
	r.proxies.Store(plain.Host, u.Scheme == "https")
	return &plain, nil
}

// fromEnvironment is the proxy that the environment has for a server. One that is no
// URL is an error, where the library would do without.
func fromEnvironment(server *url.URL) (*url.URL, error) {
	config := httpproxy.FromEnvironment()
	alone := httpproxy.Config{HTTPSProxy: config.HTTPSProxy}
	u, err := alone.ProxyFunc()(&url.URL{Scheme: "https", Host: "server.example"})
	bad := config.HTTPSProxy != "" && (err != nil || u == nil)
	if bad {
		config.HTTPSProxy = "http://proxy.example" // to ask whether the server is exempt
	}
	if u, err = config.ProxyFunc()(server); bad && u != nil {
		return nil, errProxyURL
	}
	return u, err
}

// ascii is a host's name as it is looked up.
func ascii(host string) string {
	if a, err := idna.Lookup.ToASCII(host); err == nil {
		return a
	}
	return host
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
	secure, isProxy := r.proxies.Load(address)
	if !isProxy {
		return conn, nil
	}
	t := &tunnel{Conn: conn, proxy: address, secure: secure == true}
	if t.secure {
		if t.Conn, err = secured(ctx, conn, address); err != nil {
			return nil, err
		}
	}
	return t, nil
}

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

// answered is called with what a proxy says to CONNECT. Of its answer only the number
// goes on, and whether it asks for what is known here: the text is anybody's.
func (r *route) answered(ctx context.Context, u *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	if secure, _ := r.proxies.Load(u.Host); resp.StatusCode == http.StatusBadRequest && secure == false && speaksTLS(ctx, u.Host) {
		return &proxySchemeError{u.Host, true} // as TLS servers answer those who come without
	}
	schemes := resp.Header.Values("Proxy-Authenticate")
	return &proxyRefusal{
		proxy: u.Host, status: resp.StatusCode,
		given:   u.User != nil || r.proxy != nil && r.proxy.User != "",
		foreign: len(schemes) > 0 && !slices.ContainsFunc(schemes, isBasic),
	}
}

// isBasic reports whether a challenge, or one of several in a line, is for Basic.
func isBasic(challenge string) bool { return strings.Contains(strings.ToLower(challenge), "basic") }

// Password reports why a configured proxy that asks for a password cannot be given
// one now.
func (n Network) Password() error {
	if n.proxy == nil || n.proxy.User == "" {
		return nil
	}
	password, err := n.proxy.Password()
	password.Wipe()
	return err
}

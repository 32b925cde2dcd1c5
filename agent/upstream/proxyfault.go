package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// errProxyURL shows nothing of the URL, in which there may be a password.
var errProxyURL = errors.New("HTTPS_PROXY in the service's environment is no URL of a proxy: http://, https:// or socks5://, a host and a port")

// proxySchemeError says that the scheme of a proxy's URL is the wrong one of two.
type proxySchemeError struct {
	proxy  string
	secure bool // it speaks TLS
}

func (e *proxySchemeError) Error() string {
	if e.secure {
		return "the proxy " + e.proxy + " speaks TLS, and is named with http://"
	}
	return "the proxy " + e.proxy + " speaks no TLS, and is named with https://"
}

// proxyTLSError says that the certificate is the proxy's, and not the server's.
type proxyTLSError struct{ cause error }

func (e *proxyTLSError) Error() string { return "TLS with the proxy: " + e.cause.Error() }

// proxyPasswordError says that there is no password to give.
type proxyPasswordError struct{ cause error }

func (e *proxyPasswordError) Error() string { return "the proxy's password: " + e.cause.Error() }

// proxySilence says that no answer came to CONNECT.
type proxySilence struct {
	proxy string
	alive bool // it does answer what does not need the server
	cause error
}

func (e *proxySilence) Error() string {
	if e.alive {
		return fmt.Sprintf("the proxy %s has not said in %v whether it reaches the server", e.proxy, answerTimeout)
	}
	return fmt.Sprintf("%s does not answer as a proxy does: %v", e.proxy, e.cause)
}

// proxyRefusal is a proxy's no.
type proxyRefusal struct {
	proxy  string
	status int
	// given says that it had a name and a password, foreign that it asks for what is
	// not known here.
	given, foreign bool
}

func (e *proxyRefusal) Error() string {
	if e.serverFails() {
		return fmt.Sprintf("the proxy %s does not reach the server, and answers with status %d", e.proxy, e.status)
	}
	return fmt.Sprintf("the proxy %s refused the connection with status %d", e.proxy, e.status)
}

// serverFails reports whether the proxy would, and cannot.
func (e *proxyRefusal) serverFails() bool {
	switch e.status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// asks reports whether it wants to know who comes. Some proxies answer wrong passwords
// with the status that servers have for it.
func (e *proxyRefusal) asks() bool {
	return e.status == http.StatusProxyAuthRequired || e.status == http.StatusUnauthorized
}

func (e *proxyRefusal) kind() Kind {
	switch {
	case e.asks():
		return ProxyAuth
	case e.serverFails():
		return ServerUnreachable
	case isPortalStatus(e.status):
		return CaptivePortal
	}
	return ProxyRefused
}

// proxyKind is the kind of a fault that is the proxy's, or was told by it.
func proxyKind(err error) (Kind, bool) {
	if refusal, ok := errors.AsType[*proxyRefusal](err); ok {
		return refusal.kind(), true
	}
	if silence, ok := errors.AsType[*proxySilence](err); ok && silence.alive {
		return ServerUnreachable, true
	}
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case is[*proxyPasswordError](err):
		return ProxyAuth, true
	case is[*proxySchemeError](err), is[*proxySilence](err), errors.Is(err, errProxyURL), ok && op.Op == "proxyconnect":
		return ProxyUnreachable, true
	case ok && op.Op == "socks connect":
		return socksKind(op.Err), true
	}
	return "", false
}

// socksKind sorts what a SOCKS proxy says, which the transport has in words of its own.
func socksKind(err error) Kind {
	reply, answered := strings.CutPrefix(err.Error(), "unknown error ")
	switch {
	case strings.Contains(err.Error(), "authentication"):
		return ProxyAuth
	case !answered:
		return ProxyUnreachable
	case reply == "connection not allowed by ruleset", strings.HasSuffix(reply, "not supported"):
		return ProxyRefused
	}
	return ServerUnreachable
}

// ProxyFault is what is known of a fault of the proxy's beyond its kind.
type ProxyFault struct {
	// Proxy is its address, where the fault is that it does not reach the server, or
	// that a login page answers in its place.
	Proxy string
	// Instead is its URL with the scheme that it speaks, where the other is named.
	Instead string
	// Unresolved is whether it is its name that is not known.
	Unresolved bool
	// Password is why there is none to give.
	Password error
	// Given is whether it had a name and a password, Foreign whether it asks for
	// what is not known here.
	Given, Foreign bool
}

// ProxyFaultOf looks for it in a failed call.
func ProxyFaultOf(err error) (f ProxyFault) {
	if scheme, ok := errors.AsType[*proxySchemeError](err); ok {
		f.Instead = map[bool]string{true: "https://", false: "http://"}[scheme.secure] + scheme.proxy
	}
	if password, ok := errors.AsType[*proxyPasswordError](err); ok {
		f.Password = password.cause
	}
	if refusal, ok := errors.AsType[*proxyRefusal](err); ok {
		f.Proxy, f.Given, f.Foreign = refusal.proxy, refusal.given, refusal.foreign
	}
	if silence, ok := errors.AsType[*proxySilence](err); ok {
		f.Proxy = silence.proxy
	}
	f.Unresolved = is[*net.DNSError](err)
	return f
}

package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind says why a server is not reached.
type Kind string

// The kinds. The names are stable: programs see them as codes.
const (
	ServerUnreachable Kind = "server_unreachable"
	NameUnresolved    Kind = "name_unresolved"
	ProxyUnreachable  Kind = "proxy_unreachable"
	ProxyRefused      Kind = "proxy_refused"
	ProxyAuth         Kind = "proxy_authentication"
	CaptivePortal     Kind = "captive_portal"
	Intercepted       Kind = "intercepted"
	WrongClock        Kind = "clock"
)

// KindOf sorts a failed call. It goes by where the failure was, and by no text that
// somebody else has written.
func KindOf(err error) Kind {
	if kind, ok := proxyKind(err); ok {
		return kind
	}
	switch {
	case is[*untimelyError](err):
		return WrongClock
	case errors.Is(err, http.ErrSchemeMismatch), isPortal(err):
		return CaptivePortal
	case Distrusted(err):
		return Intercepted
	case is[*net.DNSError](err):
		return NameUnresolved
	}
	return ServerUnreachable
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// untimelyError says that a certificate leads to the server's roots at another time
// than this computer's.
type untimelyError struct {
	from, until, now time.Time
	cause            error
}

func (e *untimelyError) Error() string {
	if e.now.Before(e.from) {
		return fmt.Sprintf("the server's certificate is good from %s on, and this clock says %s", stamp(e.from), stamp(e.now))
	}
	return fmt.Sprintf("the server's certificate was good until %s, and this clock says %s", stamp(e.until), stamp(e.now))
}

func (e *untimelyError) Unwrap() error { return e.cause }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Untimely is the time in which the server's certificate is good, where the clock alone
// keeps it from being trusted.
func Untimely(err error) (from, until time.Time, ok bool) {
	e, ok := errors.AsType[*untimelyError](err)
	if !ok {
		return from, until, false
	}
	return e.from, e.until, true
}

// timely makes an untimelyError of the failed verification of a chain that leads to
// roots at some other time.
func timely(err error, chain []*x509.Certificate, host string, roots *x509.CertPool) error {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired || len(chain) == 0 {
		return err
	}
	from, until := chain[0].NotBefore, chain[0].NotAfter
	opts := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: from.Add(until.Sub(from) / 2)}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, other := chain[0].Verify(opts); other != nil {
		return err
	}
	return &untimelyError{from, until, time.Now(), err}
}

// judged adds to the error of a call what is to know of it.
func (l *link) judged(base string, err error) error {
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if why := timely(bad.Err, bad.UnverifiedCertificates, hostOf(base), l.tls.RootCAs); is[*untimelyError](why) {
			return fmt.Errorf("%w: %w", ErrUnreachable, why)
		}
	}
	if answer, ok := errors.AsType[*oddAnswer](err); ok {
		// With the system's roots it may be somebody whom this computer trusts.
		answer.proven = l.tls.RootCAs != nil || l.tls.VerifyConnection != nil
	}
	return err
}

// oddAnswer is what the server would not have answered.
type oddAnswer struct {
	status int
	html   bool
	// proven says that whoever answered has proved to be the server, or what stands
	// before it: no login page can.
	proven bool
}

func (e *oddAnswer) Error() string { return fmt.Sprintf("it answered with status %d", e.status) }

// odd is an answer that is not the protocol's. Of the status line only the number is
// passed on: its text is anybody's.
func odd(resp *http.Response) error {
	return &oddAnswer{status: resp.StatusCode, html: strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")}
}

// isPortal reports whether somebody answered as login pages of networks do: with a
// page, a redirect to one, or the status that RFC 6585 has for them.
func isPortal(err error) bool {
	e, ok := errors.AsType[*oddAnswer](err)
	return ok && !e.proven && (e.html || isPortalStatus(e.status))
}

func isPortalStatus(status int) bool {
	return slices.Contains([]int{301, 302, 303, 307, 308, http.StatusNetworkAuthenticationRequired}, status)
}

// isOldTLS reports whether whoever answers speaks no TLS of the version that the server
// does, so that it has not come to a certificate. The words are those of crypto/tls,
// which has no type for it.
func isOldTLS(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case ok && op.Op == "remote error":
		return slices.Contains([]string{"tls: protocol version not supported", "tls: handshake failure"}, op.Err.Error())
	case err == nil:
		return false
	}
	return strings.Contains(err.Error(), "tls: server selected unsupported protocol version")
}

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	// answerTimeout is how long a proxy may take to answer CONNECT. It leaves time
	// within a call to find out what is wrong with one that does not.
	answerTimeout = 15 * time.Second
	// probeTimeout bounds the look at what a proxy speaks, and silenceTimeout is after
	// what silence in a handshake it is looked at.
	probeTimeout   = 3 * time.Second
	silenceTimeout = time.Second
)

// tunnel is a connection to a proxy. Whatever goes wrong on it before the proxy has
// answered CONNECT is the proxy's fault, and is told so.
type tunnel struct {
	net.Conn
	proxy  string
	secure bool
	// asked says that an answer is awaited or there, and open that what is written
	// now is for the server. One goroutine connects, so they change in no other.
	asked, open bool
}

func (t *tunnel) Write(p []byte) (int, error) {
	if t.asked && !t.open {
		t.open = true
		if err := t.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	n, err := t.Conn.Write(p)
	if err != nil && !t.open {
		err = t.failed(err)
	}
	return n, err
}

func (t *tunnel) Read(p []byte) (int, error) {
	if t.open {
		return t.Conn.Read(p)
	}
	first := !t.asked
	if first {
		t.asked = true
		if err := t.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := t.Conn.Read(p)
	switch {
	case n == 0 && err != nil:
		return 0, t.failed(err)
	case first && !isHTTP(p[:n]):
		return 0, t.failed(errNoHTTP)
	}
	return n, err
}

var errNoHTTP = errors.New("what it sends is no HTTP")

// failed finds out what is wrong with a proxy that did not answer.
func (t *tunnel) failed(err error) error {
	ctx := context.Background() // that of the call may be over
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case errors.Is(err, net.ErrClosed):
		return err // nobody waits any more
	case late:
		return &proxySilence{t.proxy, t.secure || speaksHTTP(ctx, t.proxy), err}
	case !t.secure && speaksTLS(ctx, t.proxy):
		return &proxySchemeError{t.proxy, true}
	}
	return &proxySilence{t.proxy, false, err}
}

// secured makes the TLS of a proxy's own, which the system's roots judge.
func secured(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	name, _, _ := strings.Cut(host, "%") // certificates know no zones
	outer := tls.Client(conn, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12})
	wrong := &proxySchemeError{address, false}
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	handshake, end := context.WithCancelCause(limited)
	defer end(nil)
	// Who says nothing may be waiting for the end of a line.
	look := time.AfterFunc(silenceTimeout, func() {
		if speaksPlainly(handshake, address) {
			end(wrong)
		}
	})
	defer look.Stop()
	if err = outer.HandshakeContext(handshake); err == nil {
		return outer, nil
	}
	_ = conn.Close()
	if errors.Is(context.Cause(handshake), wrong) || !isTLS(err) && speaksPlainly(ctx, address) {
		return nil, wrong
	}
	return nil, &proxyTLSError{err}
}

// speaksPlainly reports whether a server speaks HTTP, and no TLS. Those with TLS answer
// who comes without in HTTP, too.
func speaksPlainly(ctx context.Context, address string) bool {
	return speaksHTTP(ctx, address) && !speaksTLS(ctx, address)
}

// isTLS reports whether a handshake failed with somebody who speaks TLS.
func isTLS(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return is[*tls.CertificateVerificationError](err) || ok && op.Op == "remote error"
}

// speaksTLS reports whether a server does. Nothing is told to it, and what it shows is
// not believed.
func speaksTLS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} //nolint:gosec // what it shows is not believed
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return isTLS(err)
	}
	_ = conn.Close()
	return true
}

// speaksHTTP reports whether a server answers HTTP without TLS. Nothing is told to it.
func speaksHTTP(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	start := make([]byte, len(httpStart))
	_, err = io.ReadFull(conn, start)
	return err == nil && isHTTP(start)
}

// httpStart is how each answer of HTTP/1 begins.
const httpStart = "HTTP/"

func isHTTP(start []byte) bool {
	return strings.HasPrefix(httpStart, string(start[:min(len(start), len(httpStart))]))
}

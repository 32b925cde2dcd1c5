// Package tokenserver is the Token Server: the HTTP API of relying parties and
// that of devices, over the transaction engine and the enrollment of devices.
//
// The two APIs have a listener each. Relying parties authenticate with HTTP
// Basic, devices with the certificate of their device key; every route says
// in its table who may call it, and there is no other way to a handler. Every
// refusal has a stable code and is logged once, without what was sent.
package tokenserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/admin"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/roots"
	"countersign/tokenserver/store"
)

// Config is what a Server is made of. Store and PKI stay the caller's to close.
type Config struct {
	Store store.Store
	PKI   *pki.Authority
	// Listen is the HOST:PORT of the relying parties' API, DeviceListen that
	// of the devices'. Port 0 takes a free one.
	Listen, DeviceListen string
	// Issuer and DeviceURL are https URLs, by default made of the listeners'.
	Issuer, DeviceURL string
	// TLS, where not nil, takes the place of the leaf that PKI makes.
	TLS *tls.Certificate
	// Enrollment, where zero, is enroll.DefaultPolicy.
	Enrollment enroll.Policy
	// Attestation is what new devices must prove. AttestationRoots are the
	// directories of the certificates under which they are believed.
	Attestation      enroll.Attestation
	AttestationRoots []roots.Dir
	// Hold is how long a device must have been enrolled before it is asked for
	// what is of high value; 0 is not at all.
	Hold time.Duration
	// CertificateLifetime is that of devices' certificates; where zero, it is
	// enroll.DefaultLifetime.
	CertificateLifetime time.Duration
	// Machines is what lets computers in that enroll without a person.
	Machines machines.Policy
	Logger   *slog.Logger
	// Now, where nil, is time.Now.
	Now func() time.Time
}

// Server is a Token Server that listens. It is made by New and works in Run.
type Server struct {
	issuer, deviceURL string
	pinned            bool

	pki      *pki.Authority
	store    store.Store
	hub      *fanout.Hub
	engine   *engine.Engine
	enroll   *enroll.Service
	desk     *enroll.Desk
	machines *machines.Service
	log      *slog.Logger
	now      func() time.Time

	rpListener, deviceListener net.Listener
	rpTLS, deviceTLS           *tls.Config
	// published is the trust statement that was told last. Only watch uses it.
	published int64
	// stopping ends every wait.
	stopping chan struct{}
}

// New opens the listeners. Nothing is answered before Run.
func New(ctx context.Context, c Config) (*Server, error) {
	c = c.withDefaults()
	if err := errors.Join(c.Enrollment.Validate(), c.Attestation.Validate()); err != nil {
		return nil, err
	}
	// Better now than at the first enrollment.
	if _, err := roots.Pool(c.AttestationRoots...); err != nil {
		return nil, err
	}
	s := &Server{
		pki: c.PKI, store: c.Store, hub: fanout.New(), log: c.Logger, now: c.Now,
		pinned: c.TLS == nil, stopping: make(chan struct{}),
	}
	if err := s.listen(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("tokenserver: %w", err), s.Close())
	}
	if err := c.PKI.Present(s.issuer, s.deviceURL, c.TLS != nil); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.published = c.PKI.Seq()
	if err := s.wire(ctx, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Enrollment == (enroll.Policy{}) {
		c.Enrollment = enroll.DefaultPolicy()
	}
	if c.CertificateLifetime == 0 {
		c.CertificateLifetime = enroll.DefaultLifetime
	}
	return c
}

func (s *Server) listen(ctx context.Context, c Config) (err error) {
	var lc net.ListenConfig
	if s.rpListener, err = lc.Listen(ctx, "tcp", c.Listen); err != nil {
		return err
	}
	if s.deviceListener, err = lc.Listen(ctx, "tcp", c.DeviceListen); err != nil {
		return err
	}
	if s.issuer, err = publicURL(c.Issuer, c.Listen, s.rpListener); err != nil {
		return err
	}
	// Devices put their paths behind it.
	s.deviceURL, err = publicURL(strings.TrimRight(c.DeviceURL, "/"), c.DeviceListen, s.deviceListener)
	return err
}

// maxURL is the limit of an issuer in bytes, as the protocol has it.
const maxURL = 512

// publicURL is the URL given, or that of a listener as it was asked for.
func publicURL(given, asked string, l net.Listener) (string, error) {
	u, err := given, error(nil)
	if given == "" {
		u, err = listenerURL(asked, l)
	}
	if err == nil && (!protocol.ValidIssuer(u) || len(u) > maxURL) {
		err = fmt.Errorf("the issuer and the device URL are https URLs in ASCII of at most %d bytes", maxURL)
	}
	return u, err
}

func listenerURL(asked string, l net.Listener) (string, error) {
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", fmt.Errorf("%s names no host that others can reach: give the issuer and the device URL", asked)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return "https://" + net.JoinHostPort(host, port), err
}

// wire makes the parts that need to know the URLs.
func (s *Server) wire(ctx context.Context, c Config) (err error) {
	if s.engine, err = engine.New(engine.Config{Store: c.Store, Hub: s.hub, PKI: c.PKI, Issuer: s.issuer, Now: c.Now, Hold: c.Hold}); err != nil {
		return err
	}
	makers := func() (*x509.CertPool, error) { return roots.Pool(c.AttestationRoots...) }
	s.enroll = &enroll.Service{
		Store: c.Store, Hub: s.hub, PKI: c.PKI, Policy: c.Enrollment, Attestation: c.Attestation, Roots: makers,
		Issuer: s.issuer, DeviceURL: s.deviceURL, Lifetime: c.CertificateLifetime, Now: c.Now,
	}
	s.machines = machines.New(machines.Config{
		Store: c.Store, PKI: c.PKI, Policy: c.Machines, Roots: makers,
		Issuer: s.issuer, DeviceURL: s.deviceURL, Lifetime: c.CertificateLifetime, Now: c.Now,
	})
	s.desk = &enroll.Desk{Store: c.Store, Hub: s.hub, Now: c.Now}
	office := admin.Office{Store: c.Store, Hub: s.hub, Now: c.Now}
	if err := office.Prepare(ctx); err != nil {
		return err
	}
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.TLS, nil }
	if c.TLS == nil {
		leaf, err := c.PKI.TLSLeaf(c.Now, hostOf(s.issuer), hostOf(s.deviceURL), hostOf("https://"+c.Listen), hostOf("https://"+c.DeviceListen))
		if err != nil {
			return err
		}
		get = leaf.Get
	}
	s.rpTLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get}
	// The handshake asks for a certificate; whether it is any good, every
	// route decides against the database.
	s.deviceTLS = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: get, ClientAuth: tls.RequestClientCert}
	return nil
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Issuer is the server's name in every message and the URL of the relying
// parties' API.
func (s *Server) Issuer() string { return s.issuer }

// DeviceURL is where the device API is.
func (s *Server) DeviceURL() string { return s.deviceURL }

// Pin names the TLS root that enrollment links tell devices to trust, or is
// nil where the operator brought a certificate that system roots vouch for.
func (s *Server) Pin() []byte {
	if !s.pinned {
		return nil
	}
	return s.pki.Pin()
}

// Close closes the listeners of a server that was never Run.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.rpListener, s.deviceListener} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

package upstream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"countersign/protocol"
)

// errPin says that the server did not prove to be the one the link names.
var errPin = errors.New("the server's certificate does not lead to the root that the enrollment link names")

// pin makes cfg trust only a chain for host to the root of the given SPKI
// hash, which the server sends along. The root it found is handed to learned.
func pin(cfg *tls.Config, host string, spki []byte, learned func(root []byte)) {
	// The standard verification needs the root, and only its hash is known:
	// VerifyConnection does the whole of it instead.
	cfg.InsecureSkipVerify = true
	cfg.NextProtos = []string{protocol.RootProtocol(spki)}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		root := findRoot(cs.PeerCertificates, spki)
		if root == nil {
			return errPin
		}
		if err := verifyChain(cs, host, root); err != nil {
			return fmt.Errorf("%w: %w", errPin, err)
		}
		learned(root.Raw)
		return nil
	}
}

func findRoot(chain []*x509.Certificate, spki []byte) *x509.Certificate {
	for _, cert := range chain {
		if cert.IsCA && bytes.Equal(protocol.SPKI(cert), spki) {
			return cert
		}
	}
	return nil
}

// verifyChain does not ask the connection for the host: its ServerName is
// empty for an IP address, and an empty name would match every certificate.
func verifyChain(cs tls.ConnectionState, host string, root *x509.Certificate) error {
	if host == "" {
		return errors.New("the server has no name")
	}
	opts := x509.VerifyOptions{DNSName: host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	opts.Roots.AddCert(root)
	for _, cert := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return timely(err, cs.PeerCertificates, host, opts.Roots)
}

// rooted is a TLS configuration that trusts some roots, or the system's where there
// are none, and says which: a server whose root is being replaced shows a
// certificate that the device can verify.
func rooted(roots [][]byte) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if len(roots) == 0 {
		return cfg, nil
	}
	cfg.RootCAs = x509.NewCertPool()
	for _, root := range roots {
		cert, err := x509.ParseCertificate(root)
		if err != nil {
			return nil, fmt.Errorf("upstream: stored TLS root: %w", err)
		}
		cfg.RootCAs.AddCert(cert)
		cfg.NextProtos = append(cfg.NextProtos, protocol.RootProtocol(protocol.SPKI(cert)))
	}
	return cfg, nil
}

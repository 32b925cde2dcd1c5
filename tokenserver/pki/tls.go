package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// renewBefore is how long before its end the TLS leaf is replaced.
const renewBefore = 30 * 24 * time.Hour

// TLSLeaf is the server's TLS certificate, replaced in time.
type TLSLeaf struct {
	a     *Authority
	hosts []string
	now   func() time.Time
	mu    sync.Mutex
	cert  tls.Certificate
}

// TLSLeaf returns a leaf for the hosts, names or addresses, and for this
// machine's loopback, reading the one in the directory or replacing it where
// it is for others or near its end.
func (a *Authority) TLSLeaf(now func() time.Time, hosts ...string) (*TLSLeaf, error) {
	hosts = append(slices.Clone(hosts), "localhost", "127.0.0.1", "::1")
	hosts = slices.DeleteFunc(hosts, unnamed)
	for i, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			hosts[i] = ip.String() // as a certificate has it
		}
	}
	slices.Sort(hosts)
	l := &TLSLeaf{a: a, hosts: slices.Compact(hosts), now: now}
	_, err := l.Get(nil)
	return l, err
}

// unnamed reports whether a host is none that anybody could ask for.
func unnamed(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Get is a tls.Config's GetCertificate. A leaf that cannot be replaced, as when
// the disk is full, serves to its end.
func (l *TLSLeaf) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cert.Leaf == nil || l.now().After(l.cert.Leaf.NotAfter.Add(-renewBefore)) {
		id, err := l.load()
		switch {
		case err == nil:
			l.cert = tls.Certificate{Certificate: [][]byte{id.cert.Raw, l.a.tlsRoot.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}
		case l.cert.Leaf == nil || l.now().After(l.cert.Leaf.NotAfter):
			return nil, err
		}
	}
	cert := l.cert
	return &cert, nil
}

func (l *TLSLeaf) load() (*identity, error) {
	path := filepath.Join(l.a.dir, fileTLSLeaf)
	if id, err := readIdentity(path); err == nil && l.fits(id.cert) {
		return id, nil
	}
	t := leafTemplate("Countersign server", l.now(), leafLifetime)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range l.hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	id, err := makeLeaf(t, l.a.tlsRoot)
	if err != nil {
		return nil, err
	}
	return id, id.write(path)
}

func (l *TLSLeaf) fits(cert *x509.Certificate) bool {
	if l.now().After(cert.NotAfter.Add(-renewBefore)) || cert.CheckSignatureFrom(l.a.tlsRoot.cert) != nil {
		return false
	}
	var have []string
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	have = append(have, cert.DNSNames...)
	slices.Sort(have)
	return slices.Equal(have, l.hosts)
}

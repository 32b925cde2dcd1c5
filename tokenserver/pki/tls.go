package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"countersign/protocol"
)

// renewBefore is how long before its end the TLS leaf is replaced.
const renewBefore = 30 * 24 * time.Hour

// TLSLeaf is the server's TLS certificate, replaced in time and whenever the
// server's names change. While a root is being replaced there is one of each.
type TLSLeaf struct {
	a     *Authority
	hosts []string
	now   func() time.Time
	mu    sync.Mutex
	certs map[string]servedLeaf // by file
}

// servedLeaf is a leaf, and what the directory held when it was found to fit.
type servedLeaf struct {
	tls.Certificate
	ring *ring
}

// TLSLeaf returns a leaf for the hosts, names or addresses, for those of the names
// that are published, and for this machine's loopback, reading the one in the
// directory or replacing it where it is for others or near its end.
func (a *Authority) TLSLeaf(now func() time.Time, hosts ...string) (*TLSLeaf, error) {
	l := &TLSLeaf{a: a, hosts: hosts, now: now, certs: map[string]servedLeaf{}}
	_, err := l.Get(nil)
	return l, err
}

// hostsOf are the hosts that a leaf is for now, sorted, as a certificate has them.
func (l *TLSLeaf) hostsOf(r *ring) []string {
	hosts := append(slices.Clone(l.hosts), "localhost", "127.0.0.1", "::1")
	for _, address := range r.addresses() {
		if u, err := url.Parse(address); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	hosts = slices.DeleteFunc(hosts, unnamed)
	for i, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			hosts[i] = ip.String()
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// unnamed reports whether a host is none that anybody could ask for.
func unnamed(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Get is a tls.Config's GetCertificate. A leaf that cannot be replaced, as when
// the disk is full, serves to its end.
func (l *TLSLeaf) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	r := l.a.ring()
	root, file := r.tlsRoot, fileTLSLeaf
	if r.nextRoot != nil && r.book.NextTLSRoot.Serving && knows(hello, r.nextRoot) {
		root, file = r.nextRoot, fileNextLeaf
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	cert := l.certs[file]
	if cert.ring != r || l.now().After(cert.Leaf.NotAfter.Add(-renewBefore)) {
		id, err := l.load(file, root, l.hostsOf(r))
		switch {
		case err == nil:
			cert = servedLeaf{tls.Certificate{Certificate: [][]byte{id.cert.Raw, root.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}, r}
			l.certs[file] = cert
		case cert.Leaf == nil || l.now().After(cert.Leaf.NotAfter):
			return nil, err
		}
	}
	return &cert.Certificate, nil
}

// knows reports whether a client says that it trusts a root.
func knows(hello *tls.ClientHelloInfo, root *identity) bool {
	return hello != nil && slices.Contains(hello.SupportedProtos, protocol.RootProtocol(protocol.SPKI(root.cert)))
}

func (l *TLSLeaf) load(file string, root *identity, hosts []string) (*identity, error) {
	path := l.a.path(file)
	if id, err := readIdentity(path); err == nil && l.fits(id.cert, root, hosts) {
		return id, nil
	}
	t := leafTemplate("Countersign server", l.now(), leafLifetime)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	id, err := makeLeaf(t, root)
	if err != nil {
		return nil, err
	}
	return id, id.write(path)
}

func (l *TLSLeaf) fits(cert *x509.Certificate, root *identity, hosts []string) bool {
	if l.now().After(cert.NotAfter.Add(-renewBefore)) || cert.CheckSignatureFrom(root.cert) != nil {
		return false
	}
	var have []string
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	have = append(have, cert.DNSNames...)
	slices.Sort(have)
	return slices.Equal(have, hosts)
}

package upstream_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/agent/upstream"
	"countersign/protocol"
)

func started(http.ResponseWriter, *http.Request) {}

// TestPinnedRoot enrolls at servers with all kinds of chains: only a valid one
// to the root that the link names is trusted, by name and by address.
func TestPinnedRoot(t *testing.T) {
	root, other := newRoot(t), newRoot(t)
	inter := makeCert(t, x509.Certificate{Subject: pkix.Name{CommonName: "inter"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, root)
	change := func(f func(*x509.Certificate)) x509.Certificate {
		c := leafTemplate()
		f(&c)
		return c
	}
	leaf := makeCert(t, leafTemplate(), root)
	expired := change(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	elsewhere := change(func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"other.example"}, []net.IP{net.IPv4(192, 0, 2, 1)}
	})
	clientOnly := change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	for _, c := range []struct {
		name  string
		chain []*authority
		good  bool
	}{
		{"leaf and root", []*authority{leaf, root}, true},
		{"leaf, intermediate and root", []*authority{makeCert(t, leafTemplate(), inter), inter, root}, true},
		{"root not in the chain", []*authority{leaf}, false},
		{"another root", []*authority{makeCert(t, leafTemplate(), other), other}, false},
		{"another root's leaf, the right root beside it", []*authority{makeCert(t, leafTemplate(), other), other, root}, false},
		{"missing intermediate", []*authority{makeCert(t, leafTemplate(), inter), root}, false},
		{"expired leaf", []*authority{makeCert(t, expired, root), root}, false},
		{"wrong host", []*authority{makeCert(t, elsewhere, root), root}, false},
		{"not a server's", []*authority{makeCert(t, clientOnly, root), root}, false},
	} {
		srv := tlsServer(t, answer(http.StatusCreated, "application/json", `{"id":"e"}`), c.chain[0], c.chain[1:]...)
		byName := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
		for _, base := range []string{srv.URL, byName} {
			client := upstream.ForEnrollment(base, protocol.SPKI(root.cert))
			_, err := client.Start(t.Context(), protocol.EnrollmentStart{})
			client.Close()
			if (err == nil) != c.good {
				t.Errorf("%s at %s: %v", c.name, base, err)
			}
			if !c.good && (!errors.Is(err, upstream.ErrUnreachable) || client.Root() != nil) {
				t.Errorf("%s at %s: %v, and the root is learned: %v", c.name, base, err, client.Root() != nil)
			}
			if c.good && !bytes.Equal(client.Root(), root.cert.Raw) {
				t.Errorf("%s at %s: the root is not learned", c.name, base)
			}
		}
	}
}

// TestStoredRoot: afterwards only the stored root is trusted.
func TestStoredRoot(t *testing.T) {
	root, other := newRoot(t), newRoot(t)
	own := tls.Certificate{Certificate: [][]byte{root.cert.Raw}, PrivateKey: root.key}
	for _, c := range []struct {
		name   string
		stored *authority
		good   bool
	}{{"the same root", root, true}, {"another root", other, false}} {
		srv := tlsServer(t, http.HandlerFunc(started), makeCert(t, leafTemplate(), root), root)
		client, err := upstream.ForDevice(srv.URL, c.stored.cert.Raw, own)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = client.Fetch(t.Context(), "", 0)
		client.Close()
		if got := err == nil || !strings.Contains(err.Error(), "certificate"); got != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := upstream.ForDevice("https://localhost", []byte("garbage"), own); err == nil {
		t.Error("a damaged root was taken")
	}
}

// TestSystemRoots: a link that names no root leaves it to the system's, which
// do not know the test's.
func TestSystemRoots(t *testing.T) {
	root := newRoot(t)
	srv := tlsServer(t, http.HandlerFunc(started), makeCert(t, leafTemplate(), root), root)
	client := upstream.ForEnrollment(srv.URL, nil)
	defer client.Close()
	if _, err := client.Start(t.Context(), protocol.EnrollmentStart{}); !errors.Is(err, upstream.ErrUnreachable) {
		t.Errorf("an unknown root: %v", err)
	}
}

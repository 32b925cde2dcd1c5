package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
)

// A clock of the device's cannot be made wrong for it alone: time namespaces leave the
// wall clock as it is, and Go asks the kernel without the library that faketime
// replaces. So the server's clock is, by as much the other way: it is the real server
// in the test's process, with keys that are old enough to be good at its time. For the
// device, which is the real service with the real clock, that is the same: it sees
// certificates, times in answers, and signed times that are not of its time. What it
// does not show is what the rest of this computer makes of a wrong clock.

// agedKeys are a server's keys, of twenty years ago.
func agedKeys(t *testing.T, dir string) {
	t.Helper()
	ca := func(name string) (*ecdsa.PrivateKey, *x509.Certificate) {
		key, cert := aged(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil, nil)
		writeKey(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".pem"), key, cert)
		return key, cert
	}
	rootKey, root := ca("tls root")
	ca("device ca")
	ext, err := protocol.KeyInfo{Role: protocol.RoleIssuer, Attestation: protocol.AttestationNone}.Extension()
	if err != nil {
		t.Fatal(err)
	}
	key, cert := aged(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "issuer"}, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{ext},
	}, rootKey, root)
	writeKey(t, filepath.Join(dir, "issuer.pem"), key, cert)
}

// aged certifies a new key for forty years, twenty of which are over.
func aged(t *testing.T, template *x509.Certificate, byKey *ecdsa.PrivateKey, by *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().AddDate(-20, 0, 0), time.Now().AddDate(20, 0, 0)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by, byKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func writeKey(t *testing.T, path string, key *ecdsa.PrivateKey, cert *x509.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// clockWorld is a server whose clock is ahead of the device's by so much, and a
// relying party there.
func clockWorld(t *testing.T, ahead time.Duration) (*servertest.Server, *server, *portal) {
	t.Helper()
	dir := t.TempDir()
	agedKeys(t, dir)
	srv := servertest.StartIn(t, dir, enroll.Policy{}, ahead)
	srv.AddUser("alice")
	s := &server{tb: t, data: dir, issuer: srv.Issuer(), device: srv.DeviceURL(), log: new(testenv.Log)}
	return srv, s, newPortal(t, s)
}

// newLeaf has a server of the test start again with another TLS certificate.
func newLeaf(t *testing.T, srv *servertest.Server, skip time.Duration) {
	t.Helper()
	if err := os.Remove(filepath.Join(srv.Dir, "tls.pem")); err != nil {
		t.Fatal(err)
	}
	srv.Skip(skip)
	srv.Restart()
}

func alice(srv *servertest.Server) string {
	return srv.Invite(enroll.Invitation{User: "alice", TTL: time.Hour}).String()
}

// TestClockThatIsALittleWrong: within the server's certificate everything works, and
// doctor says by how much the clock is wrong.
func TestClockThatIsALittleWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead time.Duration
		words string // "": not worth mentioning
	}{
		{time.Minute, ""},
		{10 * time.Minute, "late"},
		{50 * time.Minute, "late"},
		{-10 * time.Minute, "ahead"},
		{-20 * time.Hour, "ahead"},
		{-300 * 24 * time.Hour, "ahead"},
	} {
		srv, _, p := clockWorld(t, c.ahead)
		d := startDevice(t)
		d.enroll(alice(srv))
		d.connected()
		tx := p.begin("confirm")
		d.waitFor(tx.ID)
		d.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
		p.verified(p.get(tx.ID))
		checks := d.checks()
		if c.words == "" {
			if checks["clock"] != "" {
				t.Errorf("%v is mentioned", c.ahead)
			}
			continue
		}
		if checks["clock"] != "warn" || checks["server"] != "ok" {
			t.Errorf("%v: doctor says %v", c.ahead, checks)
			continue
		}
		if detail, cure := d.finding("clock"); !strings.Contains(detail, c.words) || cure != "timedatectl set-ntp true" {
			t.Errorf("%v: %s: %s", c.ahead, detail, cure)
		}
		if c.ahead < -100*24*time.Hour && strings.Contains(d.log.String(), "key renewed") {
			t.Errorf("%v: a key was renewed by a wrong clock", c.ahead)
		}
		d.proc.stop()
		srv.Stop()
	}
}

// TestClockThatIsVeryWrong keeps TLS from being set up. It is named all the same, with
// how wrong it is by the server's signed word, and once it is right all is well.
func TestClockThatIsVeryWrong(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		ahead time.Duration
		words string
	}{{3 * time.Hour, "3h0m0s late"}, {400 * day, "400 days late"}, {-400 * day, "400 days ahead"}, {-3 * 365 * day, "3 years ahead"}} {
		srv, _, p := clockWorld(t, 0)
		d := startDevice(t)
		d.enroll(alice(srv))
		d.connected()
		newLeaf(t, srv, c.ahead)
		d.fails("clock")
		told := func() bool {
			detail, _ := d.finding("clock")
			return strings.Contains(detail, "signed word says that this clock is "+c.words)
		}
		testenv.Eventually(t, "the server's signed word on the clock", told)
		if detail, cure := d.finding("clock"); !strings.Contains(detail, "certificate is good from") || cure != "timedatectl set-ntp true" {
			t.Errorf("%v: %s: %s", c.ahead, detail, cure)
		}
		other := startDevice(t)
		if a := other.cli(pin+"\n", "enroll", alice(srv), "--pin-stdin").want(t, 4); a.code() != "clock" {
			t.Errorf("%v: enrolling is answered with %s", c.ahead, a.stdout)
		}
		newLeaf(t, srv, -c.ahead)
		d.connected()
		d.confirms(p)
		d.proc.stop()
		other.proc.stop()
		srv.Stop()
	}
}

// TestClocksAgreeAndTheCertificateIsWrong: then it is not this clock's fault.
func TestClocksAgreeAndTheCertificateIsWrong(t *testing.T) {
	t.Parallel()
	srv, _, _ := clockWorld(t, 0)
	d := startDevice(t)
	d.enroll(alice(srv))
	d.connected()
	srv.Stop()
	rootKey := readKey(t, filepath.Join(srv.Dir, "tls-root.pem"))
	root, err := x509.ParseCertificate(readPEM(t, filepath.Join(srv.Dir, "tls-root.pem"))[1].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, cert := aged(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore: time.Now().AddDate(0, 1, 0), NotAfter: time.Now().AddDate(1, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, rootKey, root)
	writeKey(t, filepath.Join(srv.Dir, "tls.pem"), key, cert)
	srv.Restart()
	d.fails("server_certificate")
	if detail, cure := d.finding("server_certificate"); !strings.Contains(detail, "this clock is right") || strings.Contains(cure, "timedatectl") {
		t.Errorf("%s: %s", detail, cure)
	}
}

package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/pki"
)

func issuerChain(t *testing.T, a *pki.Authority) []string {
	t.Helper()
	kid, err := protocol.Thumbprint(a.SignerFor(0).Public())
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.IssuerChain(kid, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func open(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	a, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenMakesOnceAndForTheOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	pins := make([]string, 4)
	var all sync.WaitGroup
	for i := range pins {
		all.Go(func() {
			if a, err := pki.Open(dir); err != nil {
				t.Error(err)
			} else {
				pins[i] = protocol.Pin(a.Pin()) + issuerChain(t, a)[0]
			}
		})
	}
	all.Wait()
	if len(slices.Compact(pins)) != 1 {
		t.Error("who opens at once gets other keys")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != pki.FileCA && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
}

func TestRootsVouchForEverything(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	data, err := os.ReadFile(filepath.Join(dir, pki.FileCA))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || cert.CheckSignatureFrom(cert) != nil || !cert.IsCA {
			t.Errorf("a root is not self-signed: %v", err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("ca.pem holds %d roots", n)
	}
	block, _ := pem.Decode([]byte(issuerChain(t, a)[0]))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(use x509.ExtKeyUsage) error {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	if err := verify(x509.ExtKeyUsageAny); err != nil {
		t.Error(err)
	}
	if len(cert.ExtKeyUsage) > 0 || len(cert.DNSNames)+len(cert.IPAddresses) > 0 {
		t.Error("the issuer's certificate is good for TLS")
	}
	if info, err := protocol.ParseKeyInfo(cert); err != nil || info.Role != protocol.RoleIssuer {
		t.Errorf("the issuer's certificate says %+v, %v", info, err)
	}
}

func TestTLSLeafIsReplacedInTime(t *testing.T) {
	a := open(t, t.TempDir())
	at := time.Now()
	now := func() time.Time { return at }
	serial := func(hosts ...string) string {
		leaf, err := a.TLSLeaf(now, hosts...)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := leaf.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(hosts, "localhost", "127.0.0.1", "::1") {
			if err := cert.Leaf.VerifyHostname(h); err != nil {
				t.Error(err)
			}
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial("rp.example", "192.0.2.1")
	if serial("192.0.2.1", "rp.example", "rp.example") != first {
		t.Error("the leaf changes for the same hosts")
	}
	other := serial("rp.example", "192.0.2.2")
	if other == first {
		t.Error("the leaf does not change with the hosts")
	}
	leaf, err := a.TLSLeaf(now, "rp.example", "192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	at = at.Add(340 * 24 * time.Hour)
	cert, err := leaf.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if cert.Leaf.SerialNumber.String() == other {
		t.Error("a leaf in use is not replaced before its end")
	}
}

func TestTLSLeafOutlivesItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	a := open(t, dir)
	at := time.Now()
	leaf, err := a.TLSLeaf(func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	at = at.Add(340 * 24 * time.Hour)
	if cert, err := leaf.Get(nil); err != nil || at.After(cert.Leaf.NotAfter) {
		t.Errorf("a leaf that cannot be replaced yet is not served: %v", err)
	}
	at = at.Add(30 * 24 * time.Hour)
	if _, err := leaf.Get(nil); err == nil {
		t.Error("an expired leaf is served")
	}
}

func TestTLSLeafKnowsAddressesByAnySpelling(t *testing.T) {
	a := open(t, t.TempDir())
	serial := func(host string) string {
		leaf, err := a.TLSLeaf(time.Now, host)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := leaf.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	if first := serial("2001:db8::1"); serial("2001:DB8:0::1") != first {
		t.Error("the leaf is replaced for the same address")
	}
}

func TestDeviceCertificates(t *testing.T) {
	a, stranger := open(t, t.TempDir()), open(t, t.TempDir())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by *pki.Authority, role protocol.Role) *x509.Certificate {
		chain, err := by.IssueDevice("d", key.Public(), protocol.KeyInfo{Role: role, Attestation: "none"}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(chain[0])
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	if err := a.VerifyDevice(issue(a, protocol.RoleDevice), time.Now(), 0); err != nil {
		t.Error(err)
	}
	if a.VerifyDevice(issue(a, protocol.RoleApproval), time.Now(), 0) == nil {
		t.Error("an approval key may authenticate")
	}
	if a.VerifyDevice(issue(stranger, protocol.RoleDevice), time.Now(), 0) == nil {
		t.Error("another server's device may authenticate")
	}
	device := issue(a, protocol.RoleDevice)
	for _, c := range []struct {
		after, grace time.Duration
		want         error
	}{
		{0, 0, nil},
		{time.Second, 0, pki.ErrExpired},
		{time.Second, time.Minute, nil},
		{time.Minute, time.Minute, nil},
		{time.Minute + time.Second, time.Minute, pki.ErrExpired},
	} {
		if err := a.VerifyDevice(device, device.NotAfter.Add(c.after), c.grace); !errors.Is(err, c.want) {
			t.Errorf("%v after its end, with %v of grace: %v", c.after, c.grace, err)
		}
	}
	if err := a.VerifyDevice(issue(stranger, protocol.RoleDevice), device.NotAfter.Add(time.Second), time.Minute); err == nil || errors.Is(err, pki.ErrExpired) {
		t.Errorf("another server's device within the grace: %v", err)
	}
	if a.VerifyDevice(device, device.NotBefore.Add(-time.Second), time.Minute) == nil {
		t.Error("a certificate is valid before its time")
	}
}

func TestParseCSR(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaLong, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	request := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	if pub, err := pki.ParseCSR(request(p256), protocol.RoleDevice); err != nil || !p256.PublicKey.Equal(pub) {
		t.Errorf("a good request: %v", err)
	}
	forged := request(p256)
	forged[len(forged)-1] ^= 1
	for name, der := range map[string][]byte{"P-384": request(p384), "RSA of 3072 bits": request(rsaLong), "forged": forged, "empty": nil} {
		if _, err := pki.ParseCSR(der, protocol.RoleApproval); err == nil {
			t.Errorf("a %s request is taken", name)
		}
	}
	if pub, err := pki.ParseCSR(request(rsaKey), protocol.RoleApproval); err != nil || !rsaKey.PublicKey.Equal(pub) {
		t.Errorf("an RSA approval key: %v", err)
	}
	if _, err := pki.ParseCSR(request(rsaKey), protocol.RoleDevice); err == nil {
		t.Error("an RSA device key is taken")
	}
}

func TestOpenRefusesLoss(t *testing.T) {
	for _, name := range []string{"issuer.pem", "tls-root.pem", "device-ca.pem"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if _, err := pki.Open(dir); !errors.Is(err, pki.ErrKeysMissing) {
				t.Errorf("a lost key is replaced in silence: %v", err)
			}
		})
	}
}

func TestOpenAfterHalfAStart(t *testing.T) {
	dir := t.TempDir()
	pin := protocol.Pin(open(t, dir).Pin())
	for _, name := range []string{pki.FileCA, "issuer.pem", "device-ca.pem"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if protocol.Pin(open(t, dir).Pin()) != pin {
		t.Error("a first start that broke off begins anew")
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	for _, name := range []string{"issuer.pem", "tls-root.pem", "device-ca.pem"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			if err := os.WriteFile(filepath.Join(dir, name), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := pki.Open(dir); err == nil {
				t.Error("a damaged key is replaced in silence")
			}
		})
	}
}

package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/pki"
)

func parsePEM(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// presented is an authority whose server has run.
func presented(t *testing.T) *pki.Authority {
	t.Helper()
	a := open(t, t.TempDir())
	if err := a.Present("https://a.example", "https://a.example:8443", false); err != nil {
		t.Fatal(err)
	}
	return a
}

func do(t *testing.T, steps ...func() error) {
	t.Helper()
	for i, s := range steps {
		if err := s(); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
}

func thumbprint(t *testing.T, a *pki.Authority, seq int64) string {
	t.Helper()
	kid, err := protocol.Thumbprint(a.SignerFor(seq).Public())
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

// TestEachDeviceIsSpokenToAsItKnows: by the newest name and key that it knows.
func TestEachDeviceIsSpokenToAsItKnows(t *testing.T) {
	a := presented(t)
	first := thumbprint(t, a, 0)
	do(t, a.RotateIssuer, func() error { return a.Move("https://b.example", "") }) // 2 and 3
	for seq, want := range map[int64]struct {
		name string
		old  bool
	}{0: {"https://a.example", true}, 1: {"https://a.example", true}, 2: {"https://a.example", false}, 3: {"https://b.example", false}} {
		if name, kid := a.NameFor(seq), thumbprint(t, a, seq); name != want.name || (kid == first) != want.old {
			t.Errorf("who knows %d is spoken to by %s with %s", seq, name, kid)
		}
	}
	if got := a.NeedsWithout("https://a.example"); got != 3 {
		t.Errorf("without the old name a device needs %d", got)
	}
	if got := a.NeedsWithout("https://b.example"); got != 0 {
		t.Errorf("without the new name a device needs %d", got)
	}
	do(t, a.RetireIssuer, func() error { return a.Drop("https://a.example") })
	if name, kid := a.NameFor(0), thumbprint(t, a, 0); name != "https://b.example" || kid == first {
		t.Errorf("after all of it the server is %s with %s", name, kid)
	}
	if _, ok := a.Signer(first); ok {
		t.Error("a retired key signs")
	}
}

// TestTLSLeafByWhatTheClientKnows: the next root serves who says that it knows it,
// once it is switched on, and everybody after the old one is retired.
func TestTLSLeafByWhatTheClientKnows(t *testing.T) {
	a := presented(t)
	leaf, err := a.TLSLeaf(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	old := a.Pin()
	do(t, a.PrepareTLSRoot)
	statement, err := a.Statement()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := statement.Certificates()
	if err != nil || len(roots) != 2 || !slices.Equal(protocol.SPKI(roots[0]), old) {
		t.Fatalf("published are %d roots, %v", len(roots), err)
	}
	next := protocol.SPKI(roots[1])
	served := func(pins ...[]byte) string {
		hello := &tls.ClientHelloInfo{SupportedProtos: []string{"h2"}}
		for _, pin := range pins {
			hello.SupportedProtos = append(hello.SupportedProtos, protocol.RootProtocol(pin))
		}
		cert, err := leaf.Get(hello)
		if err != nil {
			t.Fatal(err)
		}
		root, err := x509.ParseCertificate(cert.Certificate[1])
		if err != nil || cert.Leaf.CheckSignatureFrom(root) != nil {
			t.Fatalf("the chain does not hold: %v", err)
		}
		if slices.Equal(protocol.SPKI(root), next) {
			return "next"
		}
		return "old"
	}
	check := func(when, unaware, aware string) {
		t.Helper()
		if got := served(); got != unaware {
			t.Errorf("%s: who says nothing is served by the %s root", when, got)
		}
		if got := served(old); got != unaware {
			t.Errorf("%s: who knows the old root is served by the %s one", when, got)
		}
		if got := served(old, next); got != aware {
			t.Errorf("%s: who knows both roots is served by the %s one", when, got)
		}
	}
	check("prepared", "old", "old")
	do(t, func() error { return a.SwitchTLSRoot(true) })
	check("switched", "old", "next")
	do(t, func() error { return a.SwitchTLSRoot(false) })
	check("switched back", "old", "old")
	if err := a.RetireTLSRoot(); !errors.Is(err, pki.ErrNotBegun) {
		t.Errorf("retired while nobody was served by the next root: %v", err)
	}
	do(t, func() error { return a.SwitchTLSRoot(true) }, a.RetireTLSRoot)
	check("retired", "next", "next")
	if !slices.Equal(a.Pin(), next) {
		t.Error("links name the old root")
	}
}

// TestLeafIsForAllNames: a name that is published ahead is in the certificate at once.
func TestLeafIsForAllNames(t *testing.T) {
	a := presented(t)
	leaf, err := a.TLSLeaf(time.Now, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	do(t, func() error { return a.Move("https://b.example", "https://[2001:db8::1]:8443") })
	cert, err := leaf.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a.example", "b.example", "192.0.2.1", "2001:db8::1", "::1"} {
		if err := cert.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

// TestAnotherProcessIsHeard: what a command changes the server takes up.
func TestAnotherProcessIsHeard(t *testing.T) {
	dir := t.TempDir()
	server, command := open(t, dir), open(t, dir)
	do(t, func() error { return server.Present("https://a.example", "https://a.example:8443", false) })
	do(t, command.PrepareTLSRoot, command.RotateIssuer)
	if server.Seq() != 3 || len(server.TLSRoots()) != 2 || command.Seq() != 3 {
		t.Errorf("the statement is %d and %d", server.Seq(), command.Seq())
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Refresh(); err == nil || server.Seq() != 3 {
		t.Errorf("a damaged book: %v, the statement is %d", err, server.Seq())
	}
}

// TestRotationRefused: what is under way is not begun again, and nothing is left out.
func TestRotationRefused(t *testing.T) {
	fresh := open(t, t.TempDir())
	for name, f := range map[string]func() error{"prepare": fresh.PrepareTLSRoot, "rotate": fresh.RotateIssuer, "device CA": fresh.RotateDeviceCA} {
		if err := f(); !errors.Is(err, pki.ErrNotPublished) {
			t.Errorf("%s before a server ran: %v", name, err)
		}
	}
	a := presented(t)
	do(t, a.PrepareTLSRoot, a.RotateIssuer)
	for name, c := range map[string]struct {
		f    func() error
		want error
	}{
		"prepare again":      {a.PrepareTLSRoot, pki.ErrUnderWay},
		"rotate again":       {a.RotateIssuer, pki.ErrUnderWay},
		"retire device CAs":  {a.RetireDeviceCAs, pki.ErrNotBegun},
		"drop the only name": {func() error { return a.Drop("https://a.example") }, pki.ErrUnknownName},
		"drop another name":  {func() error { return a.Drop("https://c.example") }, pki.ErrUnknownName},
	} {
		if err := c.f(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range protocol.MaxTrustNames {
		err := a.Move("https://h"+string(rune('a'+i))+".example", "")
		if i == protocol.MaxTrustNames-1 && !errors.Is(err, pki.ErrTooMany) || i < protocol.MaxTrustNames-1 && err != nil {
			t.Errorf("name %d: %v", i+2, err)
		}
	}
	seq := a.Seq()
	do(t, func() error { return a.Move(a.Names()[0], "") }, func() error { return a.Present("https://a.example", "https://a.example:8443", false) })
	if a.Seq() != seq {
		t.Error("what is published already is published again")
	}
}

// TestLostNextKeyIsNoticed: the server must not publish a key that nobody has.
func TestLostNextKeyIsNoticed(t *testing.T) {
	for file, begin := range map[string]func(*pki.Authority) error{
		"tls-root-next.pem": (*pki.Authority).PrepareTLSRoot, "issuer-next.pem": (*pki.Authority).RotateIssuer,
	} {
		dir := t.TempDir()
		a := open(t, dir)
		do(t, func() error { return a.Present("https://a.example", "https://a.example", false) }, func() error { return begin(a) })
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Open(dir); !errors.Is(err, pki.ErrKeysMissing) {
			t.Errorf("without %s: %v", file, err)
		}
	}
}

// TestOperatorsCertificate: where system roots vouch for the server the statement
// says so.
func TestOperatorsCertificate(t *testing.T) {
	a := presented(t)
	do(t, func() error { return a.Present("https://a.example", "https://a.example:8443", true) })
	if s, err := a.Statement(); err != nil || len(s.TLSRoots) != 0 || s.Seq != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

func TestChainsThatAreTaken(t *testing.T) {
	for name, change := range map[string]func(*claim){
		"through an issuer":            func(*claim) {},
		"by a root itself":             func(c *claim) { c.issuedBy(c.root); c.chain = alone },
		"issuer trusted as a root":     func(c *claim) { c.trust, c.chain = trust(c.issuer.cert), alone },
		"issuer trusted, and its root": func(c *claim) { c.trust = trust(c.root.cert, c.issuer.cert) },
		"on P-256":                     func(c *claim) { c.onCurve(elliptic.P256()) },
		"names in one set":             func(c *claim) { c.names(directory(chipIs("id:494E5443", "PTT", "id:1"), true)) },
		"with a hardware name":         func(c *claim) { c.names(directory(chipIs("id:494E5443", "PTT", "id:1"), false), hardwareName(4)) },
		"with a permanent identifier":  func(c *claim) { c.names(hardwareName(3), directory(chipIs("id:494E5443", "PTT", "id:1"), false)) },
		"no word on authorities":       func(c *claim) { c.leaf.BasicConstraintsValid = false },
		"for data too":                 func(c *claim) { c.leaf.KeyUsage |= x509.KeyUsageDataEncipherment },
		"names not critical":           func(c *claim) { c.leaf.ExtraExtensions[0].Critical = false },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaim(t)
			change(c)
			if err := c.open(); err != nil {
				t.Error(err)
			}
		})
	}
}

func alone(leaf *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf} }

func (c *claim) names(all ...asn1.RawValue) {
	c.leaf.ExtraExtensions = []pkix.Extension{altName(all)}
}

func (c *claim) onCurve(curve elliptic.Curve) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	c.key, c.leaf.KeyUsage = &key.PublicKey, x509.KeyUsageKeyAgreement
}

func (c *claim) rsaKey(bits int) {
	c.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		c.t.Fatal(err)
	}
	c.key = &key.PublicKey
}

// under has the certificate issued by a changed issuer.
func (c *claim) under(change func(*x509.Certificate)) {
	c.issuedBy(newAuthority(c.t, "issuer", c.root, change))
}

func TestChainsThatAreRefused(t *testing.T) {
	const noPath, notThePath, otherUse, noName = "does not lead to a trusted root", "is not the path", "another use", "does not name its chip"
	chain := func(of func(c *claim, leaf *x509.Certificate) []*x509.Certificate) func(*claim) {
		return func(c *claim) {
			c.chain = func(leaf *x509.Certificate) []*x509.Certificate { return of(c, leaf) }
		}
	}
	type list = []*x509.Certificate
	for name, tt := range map[string]struct {
		change func(*claim)
		want   string
	}{
		"expired":                          {func(c *claim) { c.trust.Now = time.Now().Add(2 * time.Hour) }, noPath},
		"not yet valid":                    {func(c *claim) { c.trust.Now = time.Now().Add(-2 * time.Hour) }, noPath},
		"leaf expired":                     {func(c *claim) { c.leaf.NotAfter = time.Now().Add(-time.Minute) }, noPath},
		"issuer expired":                   {func(c *claim) { c.under(func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) }) }, noPath},
		"issuer is no CA":                  {func(c *claim) { c.under(func(x *x509.Certificate) { x.IsCA = false }) }, noPath},
		"issuer may not sign certificates": {func(c *claim) { c.under(func(x *x509.Certificate) { x.KeyUsage = x509.KeyUsageDigitalSignature }) }, noPath},
		"root allows no issuer": {func(c *claim) {
			c.root = newAuthority(c.t, "root", nil, func(x *x509.Certificate) { x.MaxPathLenZero = true })
			c.trust = trust(c.root.cert)
			c.under(nil)
		}, noPath},
		"another root":      {func(c *claim) { c.trust = trust(newAuthority(c.t, "root", nil, nil).cert) }, noPath},
		"no root":           {func(c *claim) { c.trust = trust() }, noPath},
		"roots not set":     {func(c *claim) { c.trust.Roots = nil }, noPath},
		"leaf trusted":      {chain(func(c *claim, leaf *x509.Certificate) list { c.trust = trust(leaf); return list{leaf} }), notThePath},
		"issuer missing":    {chain(func(_ *claim, leaf *x509.Certificate) list { return list{leaf} }), noPath},
		"nothing sent":      {chain(func(*claim, *x509.Certificate) list { return nil }), "has 0 certificates"},
		"too many":          {chain(func(c *claim, leaf *x509.Certificate) list { i := c.issuer.cert; return list{leaf, i, i, i, i, i, i} }), "has 7 certificates"},
		"root sent":         {chain(func(c *claim, leaf *x509.Certificate) list { return list{leaf, c.issuer.cert, c.root.cert} }), notThePath},
		"issuer sent twice": {chain(func(c *claim, leaf *x509.Certificate) list { return list{leaf, c.issuer.cert, c.issuer.cert} }), notThePath},
		"leaf sent twice":   {chain(func(c *claim, leaf *x509.Certificate) list { return list{leaf, leaf, c.issuer.cert} }), notThePath},
		"another authority sent too": {chain(func(c *claim, leaf *x509.Certificate) list {
			return list{leaf, c.issuer.cert, newAuthority(c.t, "other", c.root, nil).cert}
		}), notThePath},
		"issuer first":                     {chain(func(c *claim, leaf *x509.Certificate) list { return list{c.issuer.cert, leaf} }), ""},
		"issuer sent where it is the root": {func(c *claim) { c.trust = trust(c.issuer.cert) }, notThePath},

		"leaf is a CA": {func(c *claim) { c.leaf.IsCA = true }, "one of an authority"},
		"for servers": {func(c *claim) {
			c.leaf.UnknownExtKeyUsage = nil
			c.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, "not one of an endorsement key"},
		"for anything": {func(c *claim) {
			c.leaf.UnknownExtKeyUsage = nil
			c.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}, "not one of an endorsement key"},
		"for an attestation key":     {func(c *claim) { c.leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}} }, "not one of an endorsement key"},
		"no purpose":                 {func(c *claim) { c.leaf.UnknownExtKeyUsage = nil }, "not one of an endorsement key"},
		"signs":                      {func(c *claim) { c.leaf.KeyUsage |= x509.KeyUsageDigitalSignature }, otherUse},
		"certifies":                  {func(c *claim) { c.leaf.KeyUsage |= x509.KeyUsageCertSign }, otherUse},
		"no use named":               {func(c *claim) { c.leaf.KeyUsage = 0 }, otherUse},
		"use of another kind of key": {func(c *claim) { c.leaf.KeyUsage = x509.KeyUsageKeyAgreement }, otherUse},
		"critical and unknown": {func(c *claim) {
			c.leaf.ExtraExtensions = append(c.leaf.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, noPath},

		"RSA of 3072 bits": {func(c *claim) { c.rsaKey(3072) }, "neither RSA of 2048 bits"},
		"RSA of 2047 bits": {func(c *claim) { c.rsaKey(2047) }, "neither RSA of 2048 bits"},
		"another exponent": {func(c *claim) { c.key = &rsa.PublicKey{N: c.key.(*rsa.PublicKey).N, E: 3} }, "neither RSA of 2048 bits"},
		"on P-384":         {func(c *claim) { c.onCurve(elliptic.P384()) }, "neither RSA of 2048 bits"},

		"no names":            {func(c *claim) { c.leaf.ExtraExtensions = nil }, noName},
		"no directory name":   {func(c *claim) { c.names(hardwareName(4)) }, noName},
		"two directory names": {func(c *claim) { d := directory(chipIs("id:494E5443", "PTT", "id:1"), false); c.names(d, d) }, noName},
		"a host name too": {func(c *claim) {
			c.names(directory(chipIs("id:494E5443", "PTT", "id:1"), false), asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("a.example")})
		}, noName},
		"an unknown name too": {func(c *claim) { c.names(directory(chipIs("id:494E5443", "PTT", "id:1"), false), hardwareName(9)) }, noName},
		"no vendor":           {func(c *claim) { c.names(directory(chipIs("", "PTT", "id:1")[1:], false)) }, noName},
		"no version":          {func(c *claim) { c.names(directory(chipIs("id:494E5443", "PTT", "")[:2], false)) }, noName},
		"vendor twice": {func(c *claim) {
			c.names(directory(append(chipIs("id:494E5443", "PTT", "id:1"), attribute{1, "id:414D4400"}), false))
		}, noName},
		"one more attribute": {func(c *claim) {
			c.names(directory(append(chipIs("id:494E5443", "PTT", "id:1"), attribute{9, "x"}), false))
		}, noName},
		"vendor as a word":            {func(c *claim) { c.names(directory(chipIs("Intel", "PTT", "id:1"), false)) }, noName},
		"vendor too short":            {func(c *claim) { c.names(directory(chipIs("id:4E54", "PTT", "id:1"), false)) }, noName},
		"model is a number":           {func(c *claim) { c.names(directory(chipIs("id:494E5443", 5, "id:1"), false)) }, noName},
		"model of control characters": {func(c *claim) { c.names(directory(chipIs("id:494E5443", "P\x1bTT", "id:1"), false)) }, noName},
		"model is empty":              {func(c *claim) { c.names(directory(chipIs("id:494E5443", "", "id:1"), false)) }, noName},
		"model too long":              {func(c *claim) { c.names(directory(chipIs("id:494E5443", strings.Repeat("x", 65), "id:1"), false)) }, noName},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaim(t)
			tt.change(c)
			var p *protocol.Problem
			if err := c.open(); !errors.As(err, &p) || !isRefusalCode(p.Code) || !strings.Contains(p.Detail, tt.want) {
				t.Errorf("opened with %v, want a refusal that says %q", err, tt.want)
			}
		})
	}
}

// What is in the chain's place is not always a certificate.
func TestChainsThatAreNone(t *testing.T) {
	c := newClaim(t)
	leaf := c.issuer.issue(c.leaf, c.key).Raw
	for name, der := range map[string][]byte{
		"nothing": {}, "garbage": []byte("garbage"), "half": leaf[:200], "padded": append(leaf[:len(leaf):len(leaf)], 0),
	} {
		_, _, err := attest.OpenTPM2(c.trust, protocol.TPM2Start{EKChain: []protocol.Blob{der, c.issuer.cert.Raw}, AK: tpm2.Marshal(softwareAK())})
		if err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// How a chip's maker is shown.
func TestVendors(t *testing.T) {
	for id, want := range map[string]string{
		"id:49424D00": "IBM", "id:414D4400": "AMD", "id:53544D20": "STM", "id:494E5443": "INTC",
		"id:00001014": "id:00001014", "id:0000abcd": "id:0000ABCD", "id:00000000": "id:00000000",
	} {
		if got, ok := attest.VendorName(id); got != want || !ok {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}

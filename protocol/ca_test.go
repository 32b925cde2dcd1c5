package protocol_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"countersign/protocol"
)

// testCA issues certificates with keys made from names, always the same ones.
type testCA struct {
	key    testKey
	cert   *x509.Certificate
	parent *testCA
}

// The certificates of tests are valid in this time.
var (
	notBefore = time.Unix(1789000000, 0)
	notAfter  = time.Unix(1820000000, 0)
)

// newTestCA makes a root, or an intermediate where there is a parent.
func newTestCA(name string, parent *testCA) *testCA {
	ca := &testCA{key: newTestKey("CA " + name), parent: parent}
	template := certTemplate(name)
	// Said here, since its making differs between versions of Go.
	template.SubjectKeyId = protocol.SPKI(&x509.Certificate{RawSubjectPublicKeyInfo: must(x509.MarshalPKIXPublicKey(ca.key.Public()))})[:20]
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	if parent == nil {
		ca.cert = signCert(template, template, ca.key.Public(), ca.key)
	} else {
		ca.cert = signCert(template, parent.cert, ca.key.Public(), parent.key)
	}
	return ca
}

func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + 1), Subject: pkix.Name{CommonName: "Test-only " + name},
		NotBefore: notBefore, NotAfter: notAfter,
	}
}

func signCert(template, parent *x509.Certificate, key crypto.PublicKey, by testKey) *x509.Certificate {
	der := must(x509.CreateCertificate(nil, template, parent, key, by))
	return must(x509.ParseCertificate(der))
}

// issue certifies a key as info says; change may alter the template.
func (ca *testCA) issue(key crypto.PublicKey, info protocol.KeyInfo, change func(*x509.Certificate)) []string {
	template := certTemplate(string(info.Role))
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if info.Role != protocol.RoleIssuer {
		template.Subject.CommonName = request().Audience
	}
	template.ExtraExtensions = []pkix.Extension{must(info.Extension())}
	if change != nil {
		change(template)
	}
	chain := []string{pemOf(signCert(template, ca.cert, key, ca.key))}
	for at := ca; at != nil; at = at.parent {
		chain = append(chain, pemOf(at.cert))
	}
	return chain
}

func pemOf(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func pool(cas ...*testCA) *x509.CertPool {
	p := x509.NewCertPool()
	for _, ca := range cas {
		p.AddCert(ca.cert)
	}
	return p
}

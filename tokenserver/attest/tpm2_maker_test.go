package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

// authority is a chip maker's certificate authority.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func template509(cn string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
}

// newAuthority makes one under parent, or a root where that is nil.
func newAuthority(t testing.TB, cn string, parent *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	tmpl := template509(cn)
	tmpl.IsCA, tmpl.KeyUsage = true, x509.KeyUsageCertSign
	if change != nil {
		change(tmpl)
	}
	if parent == nil {
		parent = &authority{t, tmpl, key}
	}
	a.cert = parent.issue(tmpl, &key.PublicKey)
	return a
}

func (a *authority) issue(tmpl *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	cert, err := x509.ParseCertificate(a.tryIssue(tmpl, key))
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// tryIssue returns nothing for what no certificate can hold.
func (a *authority) tryIssue(tmpl *x509.Certificate, key crypto.PublicKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key, a.key)
	if err != nil {
		return nil
	}
	return der
}

// ekTemplate is a certificate of an endorsement key as makers write it.
func ekTemplate(usage x509.KeyUsage) *x509.Certificate {
	c := template509("")
	c.Subject = pkix.Name{}
	c.KeyUsage = usage
	c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
	c.ExtraExtensions = []pkix.Extension{altName(names(chipIs("id:4E544300", "NPCT75x", "id:00070002")))}
	return c
}

type attribute struct {
	id    int // of 2.23.133.2
	value any
}

func chipIs(vendor, model, version any) []attribute {
	return []attribute{{1, vendor}, {2, model}, {3, version}}
}

// directory is a directoryName; its attributes stand in one set or in several.
func directory(attributes []attribute, oneSet bool) asn1.RawValue {
	var rdns pkix.RDNSequence
	for i, a := range attributes {
		v := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 23, 133, 2, a.id}, Value: a.value}
		if oneSet && i > 0 {
			rdns[0] = append(rdns[0], v)
			continue
		}
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{v})
	}
	der, err := asn1.Marshal(rdns)
	if err != nil {
		panic(err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der}
}

func names(attributes []attribute) []asn1.RawValue {
	return []asn1.RawValue{directory(attributes, false)}
}

func altName(all []asn1.RawValue) pkix.Extension {
	der, err := asn1.Marshal(all)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: der}
}

// hardwareName is an otherName with a hardwareModuleName (RFC 4108), or another.
func hardwareName(last int) asn1.RawValue {
	kind, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, last})
	if err != nil {
		panic(err)
	}
	value, err := asn1.Marshal("serial")
	if err != nil {
		panic(err)
	}
	explicit, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: value})
	if err != nil {
		panic(err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(kind, explicit...)}
}

// claim is a maker, a certificate of an endorsement key, and what a chip sends.
type claim struct {
	t            testing.TB
	root, issuer *authority
	leaf         *x509.Certificate // a template
	key          crypto.PublicKey
	chain        func(leaf *x509.Certificate) []*x509.Certificate // what is sent
	trust        attest.Trust
}

func newClaim(t testing.TB) *claim {
	t.Helper()
	c := &claim{t: t, leaf: ekTemplate(x509.KeyUsageKeyEncipherment)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.key = &key.PublicKey
	c.root = newAuthority(t, "root", nil, nil)
	c.issuedBy(newAuthority(t, "issuer", c.root, nil))
	c.trust = trust(c.root.cert)
	return c
}

func (c *claim) issuedBy(a *authority) {
	c.issuer = a
	c.chain = func(leaf *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf, a.cert} }
}

func (c *claim) open() error {
	start := protocol.TPM2Start{AK: tpm2.Marshal(softwareAK())}
	for _, cert := range c.chain(c.issuer.issue(c.leaf, c.key)) {
		start.EKChain = append(start.EKChain, cert.Raw)
	}
	_, secret, err := attest.OpenTPM2(c.trust, start)
	if (err == nil) != (len(secret) == 32) {
		c.t.Errorf("OpenTPM2: secret of %d bytes with %v", len(secret), err)
	}
	return err
}

// provision makes a chip with an endorsement key on P-256, as many have, with
// its certificate at 0x01c0000a, padded, and the chain spread over two indices.
func provision(t *testing.T, chip *testenv.SWTPM) attest.Trust {
	t.Helper()
	f := &forger{t: t, raw: chip.Dial()}
	defer f.raw.Close()
	root := newAuthority(t, "root", nil, nil)
	upper := newAuthority(t, "upper", root, nil)
	lower := newAuthority(t, "lower", upper, nil)
	ek, area := f.primary(tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	f.flush(ek.Handle)
	leaf := lower.issue(ekTemplate(x509.KeyUsageKeyAgreement), publicOf(t, &protocol.TPM2Key{Public: area}))
	f.store(0x01c0000a, append(leaf.Raw, make([]byte, 100)...))
	chain := append(append(append([]byte(nil), root.cert.Raw...), upper.cert.Raw...), lower.cert.Raw...)
	f.store(0x01c00100, chain[:700])
	f.store(0x01c00101, chain[700:])
	return trust(root.cert)
}

func (f *forger) store(h tpm2.TPMHandle, content []byte) {
	f.t.Helper()
	f.index = tpm2.TPMSNVPublic{
		NVIndex: h, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(content)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true, PPRead: true},
	}
	f.content = content
	_, err := tpm2.NVDefineSpace{
		AuthHandle: byEmpty(tpm2.NamedHandle{Handle: tpm2.TPMRHOwner}), PublicInfo: tpm2.New2B(f.index),
	}.Execute(f.raw)
	f.check(err)
	f.writeIndex(nil)
}

// A chip with its own kind of endorsement key and a chain in its NV.
func TestTPM2EndToEndP256(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	trust := provision(t, chip)
	p := openTPM(t, chip.Spec())
	e := enroll(t, p, trust, create(t, p, template(false)), create(t, p, template(true)))
	found, err := e.verify()
	if err != nil {
		t.Fatal(err)
	}
	if got := found.Approval.Chip; got.Vendor != "NTC" || got.Model != "NPCT75x" || !found.Approval.PINBound {
		t.Errorf("found %+v", found.Approval)
	}
	var start protocol.StartAttestation
	if err := protocol.DecodeStrict(e.start, &start); err != nil || len(start.TPM2.EKChain) != 3 {
		t.Errorf("sent %d certificates, want the leaf and two, without the root (%v)", len(start.TPM2.EKChain), err)
	}
}

// OpenSSL agrees with us about a chain that a chip sends.
func TestOpenSSLAcceptsTheChain(t *testing.T) {
	testenv.Need(t, "openssl")
	chip, maker := testenv.StartManufacturedTPM(t)
	f := &forger{t: t, raw: chip.Dial()}
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, err := exec.CommandContext(t.Context(), "openssl", "verify",
		"-CAfile", write("root.pem", maker.Root.Raw), "-untrusted", write("issuer.pem", maker.Issuer.Raw),
		write("ek.pem", f.readNV(0x01c00002))).CombinedOutput()
	if err != nil {
		t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

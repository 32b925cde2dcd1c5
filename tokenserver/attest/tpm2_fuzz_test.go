package attest_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

// No structures, however crafted, make a verifier panic, even signed by an
// attestation key that will sign anything: each of them gets past the
// signature. What is refused is refused as an attestation.
func FuzzVerifyTPM2(f *testing.F) {
	from := newForger(f)
	from.nonce = bytes.Repeat([]byte{9}, 32)
	from.certified = from.nonce
	var good attest.TPM2Case
	from.spoil = func(s *protocol.TPM2Start, p *protocol.TPM2Proof, k *attest.Keys) {
		from.pretend(s, p, func(*tpm2.TPMSAttest) {}, nil)
		good = attest.TPM2Case{Start: *s, Proof: *p, Nonce: from.nonce, Secret: p.Secret, Keys: *k}
	}
	from.make()
	if _, err := attest.VerifyTPM2(from.trust, good); err != nil {
		f.Fatal(err)
	}
	x := good.Proof.Index
	for _, k := range []*protocol.TPM2Key{good.Proof.Approval, good.Proof.Device} {
		for _, index := range []bool{true, false} {
			f.Add([]byte(k.Public), []byte(k.Creation), []byte(k.Attest), index, []byte(x.Public), []byte(x.Authority), []byte(x.Attest))
		}
	}
	f.Fuzz(func(t *testing.T, public, creation, statement []byte, index bool, indexPublic, authority, indexStatement []byte) {
		c := good
		c.Proof.Approval = &protocol.TPM2Key{Public: public, Creation: creation, Attest: statement, Signature: softSigned(t, statement)}
		if area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public); err == nil {
			if key, err := tpm2.Pub(*area); err == nil {
				c.Keys.Approval = key
			}
		}
		c.Proof.Index = nil
		if index {
			c.Proof.Index = &protocol.TPM2Index{
				Public: indexPublic, Authority: authority, Attest: indexStatement, Signature: softSigned(t, indexStatement),
			}
		}
		_, err := attest.VerifyTPM2(from.trust, c)
		isRefusal(t, err)
	})
}

func isRefusal(t *testing.T, err error) {
	t.Helper()
	var p *protocol.Problem
	if err != nil && (!errors.As(err, &p) || !isRefusalCode(p.Code)) {
		t.Errorf("refused with %v", err)
	}
}

// No attestation key, signature or bytes of a certificate make one panic.
func FuzzOpenTPM2(f *testing.F) {
	c := newClaim(f)
	leaf := c.issuer.issue(c.leaf, c.key)
	f.Add(leaf.Raw, tpm2.Marshal(softwareAK()))
	f.Fuzz(func(t *testing.T, der, ak []byte) {
		_, _, err := attest.OpenTPM2(c.trust, protocol.TPM2Start{EKChain: []protocol.Blob{der, c.issuer.cert.Raw}, AK: ak})
		isRefusal(t, err)
	})
}

// No subject alternative name, signed by a maker, makes one panic or puts into
// a verdict what cannot be shown.
func FuzzChipName(f *testing.F) {
	c := newClaim(f)
	ak := tpm2.Marshal(softwareAK())
	f.Add(c.leaf.ExtraExtensions[0].Value)
	f.Add(altName([]asn1.RawValue{hardwareName(4), directory(chipIs("id:494E5443", "PTT", "id:1"), true)}).Value)
	f.Fuzz(func(t *testing.T, name []byte) {
		tmpl := *c.leaf
		tmpl.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: name}}
		leaf := c.issuer.tryIssue(&tmpl, c.key)
		if leaf == nil {
			return
		}
		start := protocol.TPM2Start{EKChain: []protocol.Blob{leaf, c.issuer.cert.Raw}, AK: ak}
		_, _, err := attest.OpenTPM2(c.trust, start)
		isRefusal(t, err)
		if err != nil {
			return
		}
		chip, err := attest.ChipOf(leaf)
		if err != nil || strings.ContainsFunc(chip.Vendor+chip.Model, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("chip %+v, %v", chip, err)
		}
	})
}

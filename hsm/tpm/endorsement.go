package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// endorsementKind is a kind of endorsement key, with the places that the TCG EK
// Credential Profile (2.2.1.4 and 2.2.1.5) gives it.
type endorsementKind struct {
	template    tpm2.TPMTPublic
	certificate tpm2.TPMHandle // the NV index of its certificate
	persistent  tpm2.TPMHandle // where a maker may keep the key
}

// endorsementKinds are the profile's templates L-2 and L-1, the cheaper one to
// derive first.
func endorsementKinds() []endorsementKind {
	return []endorsementKind{
		{tpm2.ECCEKTemplate, 0x01c0000a, 0x81010002},
		{tpm2.RSAEKTemplate, 0x01c00002, 0x81010001},
	}
}

// The NV indices that hold, one behind the other, the certificates between that
// of the endorsement key and its root (same profile, 2.2.1.5.2).
const firstChainIndex, lastChainIndex tpm2.TPMHandle = 0x01c00100, 0x01c001ff

// endorsement is who made the chip, by certificate.
type endorsement struct {
	kind  endorsementKind
	chain [][]byte // DER, leaf first, without the root
}

// endorsed finds a certificate whose key this chip has.
func (c *chip) endorsed() (*endorsement, error) {
	for _, kind := range endorsementKinds() {
		content, err := c.readIndex(kind.certificate)
		if err != nil {
			return nil, err
		}
		leaf := firstCertificate(content)
		if leaf == nil {
			continue
		}
		ek, err := c.loadEndorsementKey(kind, leaf.PublicKey)
		if errors.Is(err, hsm.ErrNoAttestation) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ek.flush(c)
		chain, err := c.chainOf(leaf)
		return &endorsement{kind, chain}, err
	}
	return nil, fmt.Errorf("%w: this TPM holds no certificate of its endorsement key", hsm.ErrNoAttestation)
}

// kindOf tells which kind an endorsement key is of.
func kindOf(public crypto.PublicKey) (endorsementKind, error) {
	kinds := endorsementKinds()
	switch public.(type) {
	case *ecdsa.PublicKey:
		return kinds[0], nil
	case *rsa.PublicKey:
		return kinds[1], nil
	}
	return endorsementKind{}, fmt.Errorf("%w: endorsement key of an unknown kind", hsm.ErrNoAttestation)
}

// firstCertificate parses what an index holds; there may be padding behind it.
func firstCertificate(content []byte) *x509.Certificate {
	certificates := splitCertificates(content)
	if len(certificates) == 0 {
		return nil
	}
	return certificates[0]
}

func splitCertificates(content []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for len(content) > 0 {
		var der asn1.RawValue
		rest, err := asn1.Unmarshal(content, &der)
		if err != nil {
			break
		}
		certificate, err := x509.ParseCertificate(der.FullBytes)
		if err != nil {
			break
		}
		all, content = append(all, certificate), rest
	}
	return all
}

// chainOf puts what the chip holds into the order of a path. The end of the
// path, which signed itself, is for the verifier to know.
func (c *chip) chainOf(leaf *x509.Certificate) ([][]byte, error) {
	handles, err := c.handles(uint32(firstChainIndex))
	if err != nil {
		return nil, err
	}
	var content []byte
	for _, h := range handles {
		if h > lastChainIndex {
			break
		}
		part, err := c.readIndex(h)
		if err != nil {
			return nil, err
		}
		content = append(content, part...)
	}
	return path(leaf, splitCertificates(content)), nil
}

func path(leaf *x509.Certificate, others []*x509.Certificate) [][]byte {
	chain := [][]byte{leaf.Raw}
	for last := leaf; len(chain) <= len(others); {
		next := issuerOf(last, others)
		if next == nil || bytes.Equal(next.RawSubject, next.RawIssuer) {
			break
		}
		chain, last = append(chain, next.Raw), next
	}
	return chain
}

func issuerOf(child *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, parent := range among {
		if bytes.Equal(child.RawIssuer, parent.RawSubject) && child.CheckSignatureFrom(parent) == nil {
			return parent
		}
	}
	return nil
}

// readIndex reads an index of the chip's maker with the index's own auth value,
// which is empty: the owner may have set a password. Where there is no such
// index it returns nothing.
func (c *chip) readIndex(h tpm2.TPMHandle) ([]byte, error) {
	const chunk = 512 // every chip's buffer is as large
	rsp, err := tpm2.NVReadPublic{NVIndex: h}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for index %#x: %w", uint32(h), err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil || !public.Attributes.Written || !public.Attributes.AuthRead {
		return nil, err
	}
	content := make([]byte, 0, public.DataSize)
	for len(content) < int(public.DataSize) {
		part, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: h, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: h, Name: rsp.NVName},
			Size:       min(chunk, public.DataSize-uint16(len(content))),
			Offset:     uint16(len(content)),
		}.Execute(c)
		if err != nil {
			return nil, fmt.Errorf("read index %#x: %w", uint32(h), err)
		}
		if len(part.Data.Buffer) == 0 {
			return nil, fmt.Errorf("read index %#x: nothing came", uint32(h))
		}
		content = append(content, part.Data.Buffer...)
	}
	return content, nil
}

// endorsementKey is the endorsement key in the chip.
type endorsementKey struct {
	tpm2.NamedHandle
	transient bool
}

func (k endorsementKey) flush(c *chip) {
	if k.transient {
		c.flush(k.Handle)
	}
}

// loadEndorsementKey finds the endorsement key of a certificate, or derives it,
// which costs a slow chip most. The caller flushes it. It returns
// hsm.ErrNoAttestation when the chip has another one.
func (c *chip) loadEndorsementKey(kind endorsementKind, certified crypto.PublicKey) (endorsementKey, error) {
	if there, err := (tpm2.ReadPublic{ObjectHandle: kind.persistent}).Execute(c); err == nil {
		if isEndorsementKey(there.OutPublic, kind, certified) {
			return endorsementKey{tpm2.NamedHandle{Handle: kind.persistent, Name: there.Name}, false}, nil
		}
	} else if !errors.Is(err, tpm2.TPMRCHandle) {
		return endorsementKey{}, fmt.Errorf("look for the endorsement key: %w", err)
	}
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(kind.template),
	}.Execute(c)
	if err != nil {
		return endorsementKey{}, fmt.Errorf("derive the endorsement key: %w", endorsementError(err))
	}
	ek := endorsementKey{tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, true}
	if !isEndorsementKey(made.OutPublic, kind, certified) {
		ek.flush(c)
		return endorsementKey{}, fmt.Errorf("%w: the certificate in it is for another endorsement key", hsm.ErrNoAttestation)
	}
	return ek, nil
}

// isEndorsementKey compares with what the verifier will assume: the template,
// with the certificate's key in it.
func isEndorsementKey(public tpm2.TPM2BPublic, kind endorsementKind, certified crypto.PublicKey) bool {
	area, err := public.Contents()
	if err != nil {
		return false
	}
	key, err := tpm2.Pub(*area)
	if err != nil {
		return false
	}
	same, ok := certified.(interface{ Equal(x crypto.PublicKey) bool })
	want := kind.template
	want.Unique = area.Unique
	return ok && same.Equal(key) && bytes.Equal(tpm2.Marshal(*area), tpm2.Marshal(want))
}

// endorsementError explains a refusal of what only the endorsement hierarchy's
// administrator may do.
func endorsementError(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w: the TPM's endorsement password is set: %w", hsm.ErrNoAttestation, err)
	}
	if errors.Is(err, tpm2.TPMRCHierarchy) {
		return fmt.Errorf("%w: the TPM's endorsement hierarchy is disabled: %w", hsm.ErrNoAttestation, err)
	}
	return err
}

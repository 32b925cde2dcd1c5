package protocol

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
)

// Role is what a certified key is for.
type Role string

// The roles.
const (
	// RoleDevice authenticates mTLS and signs denials and C0 and C1 approvals.
	RoleDevice Role = "device"
	// RoleApproval signs C2 and C3 approvals, and nothing else.
	RoleApproval Role = "approval"
	// RoleIssuer is the server's own signing key.
	RoleIssuer Role = "issuer"
	// RoleMachine authenticates mTLS of a machine, which belongs to nobody and
	// decides nothing.
	RoleMachine Role = "machine"
)

// oidKeyInfo names the certificate extension below. The arc is the one that
// IANA keeps for documentation (RFC 5612); the extension is not critical, so
// that OpenSSL verifies chains that carry it.
func oidKeyInfo() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 17, 1}
}

// KeyInfo is the certificate extension that says what a key is for and what
// binds it, as the server established at enrollment.
type KeyInfo struct {
	Role       Role
	PINBound   bool
	TouchBound bool
	// Attestation is the format of the verdict.
	Attestation string
}

type asn1KeyInfo struct {
	Role        string `asn1:"utf8"`
	PINBound    bool
	TouchBound  bool
	Attestation string `asn1:"utf8"`
}

// Extension encodes k for a certificate template's ExtraExtensions.
func (k KeyInfo) Extension() (pkix.Extension, error) {
	der, err := asn1.Marshal(asn1KeyInfo{string(k.Role), k.PINBound, k.TouchBound, k.Attestation})
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("protocol: %w", err)
	}
	return pkix.Extension{Id: oidKeyInfo(), Value: der}, nil
}

// ParseKeyInfo reads the extension from a certificate: a role of ours, clean
// text, and exactly the DER that Extension writes.
func ParseKeyInfo(cert *x509.Certificate) (KeyInfo, error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidKeyInfo()) {
			continue
		}
		return decodeKeyInfo(ext.Value)
	}
	return KeyInfo{}, errorf(CodeBadCert, "the certificate does not say what its key is for")
}

func decodeKeyInfo(der []byte) (KeyInfo, error) {
	malformed := errorf(CodeBadCert, "the certificate's key information is malformed")
	var a asn1KeyInfo
	if _, err := asn1.Unmarshal(der, &a); err != nil {
		return KeyInfo{}, malformed
	}
	k := KeyInfo{Role(a.Role), a.PINBound, a.TouchBound, a.Attestation}
	// Go's decoder lets members follow that it was not asked for.
	if ext, err := k.Extension(); err != nil || !bytes.Equal(ext.Value, der) {
		return KeyInfo{}, malformed
	}
	if !slices.Contains([]Role{RoleDevice, RoleApproval, RoleIssuer, RoleMachine}, k.Role) || CheckText("attestation", k.Attestation, maxLabel) != nil {
		return KeyInfo{}, malformed
	}
	return k, nil
}

// MaySign checks that the key may sign d: approvals of C2 and C3 by an
// approval key, C3 by one that is bound to touch; all else by the device key.
// It makes every verifier, not the server alone, the judge. PINBound is not
// demanded: without attestation the server does not know it, and whoever needs
// to know reads the verdict.
func (k KeyInfo) MaySign(d *Decision) error {
	want := RoleFor(d.Decision, d.UV.Class)
	switch {
	case k.Role != want:
		return errorf(CodeMismatch, "this decision takes the %s key", want)
	case want == RoleApproval && d.UV.Class >= C3 && !k.TouchBound:
		return errorf(CodeMismatch, "a C3 approval takes a key bound to touch")
	}
	return nil
}

// agrees reports whether a verdict can be that on this key.
func (k KeyInfo) agrees(v Verdict) bool {
	return k.PINBound == v.PINBound && k.TouchBound == v.TouchBound && k.Attestation == v.Format
}

// RoleFor is the role whose key a device signs such a decision with.
func RoleFor(decision string, class Class) Role {
	if decision == Approve && class >= C2 {
		return RoleApproval
	}
	return RoleDevice
}

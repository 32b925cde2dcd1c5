package attest

import (
	"crypto/x509"
	"slices"

	"countersign/protocol"
)

// maxPIVChain is the slot's certificate, the token's and two between that and
// a root, as Yubico has them since firmware 5.7.4.
const maxPIVChain = 4

// verifyPIVChain returns a slot's certificate if what was sent is the path from
// it to below a root, and nothing else.
func verifyPIVChain(t Trust, role string, sent []protocol.Blob) (*x509.Certificate, error) {
	if len(sent) < 2 || len(sent) > maxPIVChain {
		return nil, refuse("the %s key's attestation is not 2 to %d certificates", role, maxPIVChain)
	}
	certs := make([]*x509.Certificate, len(sent))
	for i, der := range sent {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return nil, refuse("a certificate of the %s key's attestation is malformed", role)
		}
	}
	if certs[0].IsCA {
		return nil, refuse("the %s key's attestation is a CA certificate", role)
	}
	issuers := x509.NewCertPool()
	for _, c := range certs[1:] {
		// A slot's key signs whatever its owner wants. Its certificate must not
		// pass for that of the token's attestation key.
		if len(extensions(c, oidPIVPolicy())) > 0 {
			return nil, refuse("the %s key's attestation is issued by a slot", role)
		}
		issuers.AddCert(asIssuer(c, len(certs)))
	}
	paths, err := certs[0].Verify(x509.VerifyOptions{
		Roots: t.roots(), Intermediates: issuers, CurrentTime: t.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, refuse("the %s key's attestation does not lead to a root that this server trusts now", role)
	}
	exact := func(path []*x509.Certificate) bool {
		return slices.EqualFunc(path[:len(path)-1], certs, (*x509.Certificate).Equal)
	}
	if !slices.ContainsFunc(paths, exact) {
		return nil, refuse("the %s key's attestation is not the path to below its root", role)
	}
	return certs[0], nil
}

// asIssuer makes up for tokens of before firmware 5.4, whose own certificate
// does not say that it may issue. It must be Yubico's by its looks and come
// straight from a root; one that says it may not issue is left as it is.
func asIssuer(c *x509.Certificate, length int) *x509.Certificate {
	old := !c.BasicConstraintsValid && length == 2 && c.Subject.String() == "CN=Yubico PIV Attestation" && len(extensions(c, oidPIVFirmware())) == 1
	if !old {
		return c
	}
	issuer := *c
	issuer.BasicConstraintsValid, issuer.IsCA, issuer.MaxPathLen, issuer.MaxPathLenZero = true, true, 0, true
	return &issuer
}

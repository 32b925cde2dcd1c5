package attest

import (
	"crypto/x509"

	"countersign/protocol"
)

// verifyPIVChain returns a slot's certificate if what was sent is the path from
// it to below a root, and nothing else.
func verifyPIVChain(t Trust, role string, sent []protocol.Blob) (*x509.Certificate, error) {
	of := role + " key's slot"
	chain, err := parseChain(of, sent)
	if err != nil {
		return nil, err
	}
	if len(chain) < 2 || chain[0].IsCA {
		return nil, refused("the chain of the %s is not a slot's and its token's", of)
	}
	for i, c := range chain[1:] {
		// A slot's key signs whatever its owner wants. Its certificate must not
		// pass for that of the token's attestation key.
		if len(extensions(c, oidPIVPolicy())) > 0 {
			return nil, refused("the chain of the %s has a certificate that a slot issued", of)
		}
		chain[i+1] = asIssuer(c, len(chain))
	}
	return chain[0], t.verifyChain(of, chain)
}

// asIssuer makes up for the tokens, seen up to firmware 5.2.4, whose own
// certificate does not say that it may issue. It must be Yubico's by its looks
// and come straight from a root; one that says it may not issue is left as it
// is.
func asIssuer(c *x509.Certificate, length int) *x509.Certificate {
	old := !c.BasicConstraintsValid && length == 2 && c.Subject.String() == "CN=Yubico PIV Attestation" && len(extensions(c, oidPIVFirmware())) == 1
	if !old {
		return c
	}
	issuer := *c
	issuer.BasicConstraintsValid, issuer.IsCA, issuer.MaxPathLen, issuer.MaxPathLenZero = true, true, 0, true
	return &issuer
}

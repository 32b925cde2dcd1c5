package attest

import (
	"crypto/x509"
	"errors"
	"slices"

	"countersign/protocol"
	"countersign/tokenserver/problem"
)

// maxChain bounds a chain as it is sent, so that nobody makes us search.
const maxChain = 6

// parseChain reads certificates as they are sent: DER, leaf first.
func parseChain(of string, sent []protocol.Blob) ([]*x509.Certificate, error) {
	if len(sent) == 0 || len(sent) > maxChain {
		return nil, refused("the chain of the %s has %d certificates, want 1 to %d", of, len(sent), maxChain)
	}
	chain := make([]*x509.Certificate, len(sent))
	for i, der := range sent {
		var err error
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, refused("certificate %d of the chain of the %s cannot be read", i+1, of)
		}
	}
	return chain, nil
}

// verifyChain judges a chain: every certificate in it, in this order and no
// other, must lead to a root that is not in it. The caller has dealt with the
// leaf's critical extensions and with what it may be used for.
func (t Trust) verifyChain(of string, chain []*x509.Certificate) error {
	roots := t.Roots
	if roots == nil {
		roots = x509.NewCertPool() // or the system's would be taken
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: t.Now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return problem.New(protocol.ProblemMaker, "the chain of the %s does not lead to a trusted root", of)
	}
	if err != nil {
		return refused("the chain of the %s does not lead to a trusted root, or not at this time", of)
	}
	for _, p := range paths {
		if slices.EqualFunc(p[:len(p)-1], chain, (*x509.Certificate).Equal) {
			return nil
		}
	}
	return refused("the chain of the %s is not the path to a trusted root: it holds the root or more than it takes", of)
}

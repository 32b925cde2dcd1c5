package hsm

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
)

// Signer lends a key to code that wants a crypto.Signer, such as crypto/x509
// and crypto/tls, for as long as ctx lives. The digest must be SHA-256, and the
// padding of an RSA key PKCS #1 v1.5.
func Signer(ctx context.Context, key Key, auth Auth) crypto.Signer {
	return signer{ctx, key, auth}
}

type signer struct {
	ctx  context.Context //nolint:containedctx // crypto.Signer has no room for one
	key  Key
	auth Auth
}

func (s signer) Public() crypto.PublicKey { return s.key.Public() }

func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("hsm: cannot sign a %v digest, only SHA-256", opts.HashFunc())
	}
	if _, pss := opts.(*rsa.PSSOptions); pss {
		return nil, fmt.Errorf("hsm: cannot sign with PSS padding, only with PKCS #1 v1.5")
	}
	return s.key.Sign(s.ctx, digest, s.auth)
}

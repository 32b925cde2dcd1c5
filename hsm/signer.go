package hsm

import (
	"context"
	"crypto"
	"fmt"
	"io"

	"countersign/internal/secret"
)

// Signer lends a key to code that wants a crypto.Signer, such as crypto/x509
// and crypto/tls, for as long as ctx lives. The digest must be SHA-256.
func Signer(ctx context.Context, key Key, pin secret.Value) crypto.Signer {
	return signer{ctx, key, pin}
}

type signer struct {
	ctx context.Context //nolint:containedctx // crypto.Signer has no room for one
	key Key
	pin secret.Value
}

func (s signer) Public() crypto.PublicKey { return s.key.Public() }

func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("hsm: cannot sign a %v digest, only SHA-256", opts.HashFunc())
	}
	return s.key.Sign(s.ctx, digest, s.pin)
}

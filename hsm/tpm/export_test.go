package tpm

import (
	"context"
	"encoding/asn1"
	"encoding/pem"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// What the attacks in the tests must know that no user of the package may.
var (
	AuthValue = authValue
	DialError = dialError
)

// IndexOf names the PIN index of a reference.
func IndexOf(encoded []byte) (tpm2.NamedHandle, error) {
	ref, err := decode(encoded)
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	name, err := ref.index.name()
	return tpm2.NamedHandle{Handle: ref.index.public.NVIndex, Name: name}, err
}

// Line lends a Provider's own line to its TPM, so that a baseline differs from
// Key.Sign in what it sends and in nothing else.
func Line(ctx context.Context, p *Provider) transport.TPMCloser { return line{ctx, p} }

type line struct {
	ctx context.Context
	p   *Provider
}

func (l line) Send(cmd []byte) (rsp []byte, err error) {
	err = l.p.link.do(l.ctx, func(c *chip) error {
		rsp, err = c.Send(cmd)
		return err
	})
	return rsp, err
}

func (line) Close() error { return nil }

// AsVersion1 is a reference as it was written before creation data was kept.
func AsVersion1(encoded []byte) ([]byte, error) {
	first, rest := pem.Decode(encoded)
	second, _ := pem.Decode(rest)
	var now appendix
	if _, err := asn1.Unmarshal(second.Bytes, &now); err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(struct {
		Version                                              int
		Root, CreationHash, CreationTicket, Index, Authority []byte
	}{1, now.Root, now.CreationHash, now.CreationTicket, now.Index, now.Authority})
	second.Bytes = der
	return append(pem.EncodeToMemory(first), pem.EncodeToMemory(second)...), err
}

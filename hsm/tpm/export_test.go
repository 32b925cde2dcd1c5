package tpm

import (
	"context"

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

// HangUp makes a Provider let go of its TPM, as it does by itself when nobody
// has come for a while.
func HangUp(ctx context.Context, p *Provider) error {
	if err := p.link.take(ctx); err != nil {
		return err
	}
	defer p.link.give()
	p.link.leave()
	return nil
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

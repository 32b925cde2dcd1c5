package tpm

import (
	"context"
	"encoding/asn1"
	"encoding/pem"
	"io"

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

// AsVersion1 writes a reference as the first version of this package did.
func AsVersion1(encoded []byte) ([]byte, error) {
	key, rest := pem.Decode(encoded)
	block, _ := pem.Decode(rest)
	var extra appendix
	if _, err := asn1.Unmarshal(block.Bytes, &extra); err != nil {
		return nil, err
	}
	extra.Version, extra.Creation = 1, nil
	der, err := asn1.Marshal(extra)
	return append(pem.EncodeToMemory(key), pem.EncodeToMemory(&pem.Block{Type: appendixType, Bytes: der})...), err
}

// Tamper makes each response of a Provider's TPM pass through f, as raw bytes
// that the Provider has yet to find the end of.
func Tamper(p *Provider, f func(rsp []byte) io.Reader) {
	dial := p.link.dial
	p.link.dial = func(ctx context.Context) (wire, error) {
		w, err := dial(ctx)
		return &tampered{w, f}, err
	}
}

type tampered struct {
	wire
	f func([]byte) io.Reader
}

func (w *tampered) exchange(ctx context.Context, cmd []byte) ([]byte, error) {
	rsp, err := w.wire.exchange(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return readResponse(w.f(rsp))
}

// Hostile opens a TPM that answers with what r holds, whatever it is asked.
func Hostile(r io.Reader) *Provider {
	return &Provider{link: newLink(target{dial: func(context.Context) (wire, error) { return scripted{r}, nil }})}
}

type scripted struct{ r io.Reader }

func (s scripted) exchange(context.Context, []byte) ([]byte, error) { return readResponse(s.r) }
func (scripted) alive() bool                                        { return true }
func (scripted) hangUp()                                            {}

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

//go:build cgo

package piv

import (
	"context"
	"fmt"
	"strconv"

	"countersign/hsm"
)

// Provider is the PIV back end of hsm, for all tokens that are inserted. It is
// safe for concurrent use: callers queue for the readers, each as long as its
// context allows. It holds nothing between calls, so there is nothing to close.
type Provider struct{ link *link }

var (
	_ hsm.Provider   = (*Provider)(nil)
	_ hsm.Attester   = (*Provider)(nil)
	_ hsm.Identifier = (*Provider)(nil)
	_ hsm.Reclaimer  = (*Provider)(nil)
)

// Open prepares the use of tokens. Whether there is one shows when it is used.
func Open(options ...Option) *Provider {
	l := limits{DefaultTimeout, DefaultPatience}
	for _, o := range options {
		o(&l)
	}
	return &Provider{newLink(l)}
}

// Name implements hsm.Provider.
func (*Provider) Name() string { return "piv" }

// Open implements hsm.Provider. It asks the token whether the slot still holds
// the key.
func (p *Provider) Open(ctx context.Context, encoded []byte) (hsm.Key, error) {
	ref, err := decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("piv: open a key: %w", err)
	}
	err = p.link.do(ctx, func(v *visit) error {
		return v.withSharedToken(ref.serial, leaveCard, func(a *applet) error { return a.check(ref) })
	})
	if err != nil {
		return nil, fmt.Errorf("piv: open a key: %w", err)
	}
	return p.newKey(ref)
}

// newKey wraps a reference.
func (p *Provider) newKey(ref *reference) (hsm.Key, error) {
	encoded, err := ref.encode()
	if err != nil {
		return nil, err
	}
	k := &key{p, ref, encoded}
	if ref.bound() {
		return &boundKey{k}, nil
	}
	return k, nil
}

// withSharedToken lends the PIV application of the token with this serial
// number, and names what goes wrong with it.
func (v *visit) withSharedToken(serial uint32, then disposition, f func(*applet) error) error {
	where, err := v.find(serial)
	if err != nil {
		return err
	}
	err = v.tryApplet(where, then, f)
	if isReset(err) && then == leaveCard {
		err = v.tryApplet(where, then, f) // it only looks
	}
	return v.name(where.serial, err)
}

func (v *visit) tryApplet(where found, then disposition, f func(*applet) error) error {
	return v.withReaders(func(p *pcscContext) error {
		return v.withApplet(p, where.reader, then, func(a *applet) error {
			if a.serial != where.serial {
				return fmt.Errorf("%w: token %d; there is %d", hsm.ErrTokenAbsent, where.serial, a.serial)
			}
			return f(a)
		})
	})
}

// parseSerial reads the serial number of a token as people write it; "" is 0,
// which stands for the only token.
func parseSerial(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %q is no serial number", hsm.ErrTokenAbsent, s)
	}
	return uint32(n), nil
}

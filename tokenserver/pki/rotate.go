package pki

import (
	"errors"
)

// Reasons why a change of keys or names is not made.
var (
	// ErrUnderWay says that another change of the same kind has not ended.
	ErrUnderWay = errors.New("pki: the change is under way already")
	// ErrNotBegun says that there is nothing to go on with.
	ErrNotBegun = errors.New("pki: there is no such change under way")
	// ErrNotPublished says that no server has published anything yet.
	ErrNotPublished = errors.New("pki: no server has run yet")
	// ErrTooMany says that as many names are published as may be.
	ErrTooMany = errors.New("pki: too many names")
	// ErrUnknownName says that a URL is not published, or is the only one.
	ErrUnknownName = errors.New("pki: there is no such name beside another")
)

// published refuses a change to what nobody has published.
func published(f func(*ring) error) func(*ring) error {
	return func(r *ring) error {
		if r.book.Seq == 0 {
			return ErrNotPublished
		}
		return f(r)
	}
}

// PrepareTLSRoot makes a root that is to take the place of the present one, and
// publishes it beside that.
func (a *Authority) PrepareTLSRoot() error {
	return a.change(published(func(r *ring) error {
		if r.book.NextTLSRoot != nil {
			return ErrUnderWay
		}
		id, err := makeRoot("Countersign TLS root")
		if err != nil {
			return err
		}
		if err := id.write(a.path(fileNextRoot)); err != nil {
			return err
		}
		r.book.Seq++
		r.book.NextTLSRoot = &next{ID: rootID(id), Since: r.book.Seq}
		return nil
	}))
}

// SwitchTLSRoot has the server show a certificate of the next root to who says that
// it knows that root; on false it goes back.
func (a *Authority) SwitchTLSRoot(on bool) error {
	return a.change(published(func(r *ring) error {
		if r.book.NextTLSRoot == nil {
			return ErrNotBegun
		}
		r.book.NextTLSRoot.Serving = on
		return nil
	}))
}

// RetireTLSRoot puts the next root, which must serve, in the place of the present
// one. The key of that is removed; its certificate stays in ca.pem, for evidence.
func (a *Authority) RetireTLSRoot() error {
	return a.change(published(func(r *ring) error {
		b := &r.book
		if b.NextTLSRoot == nil || !b.NextTLSRoot.Serving {
			return ErrNotBegun
		}
		r.keepChains()
		for _, id := range []*identity{r.issuer, r.nextIssuer} {
			if id == nil {
				continue
			}
			chain, err := certifyAgain(id, r.nextRoot)
			if err != nil {
				return err
			}
			b.IssuerChains = append(b.IssuerChains, chain)
		}
		b.FormerTLSRoots = append(b.FormerTLSRoots, r.tlsRoot.cert.Raw)
		b.TLSRoot, b.NextTLSRoot = b.NextTLSRoot.ID, nil
		b.Seq++
		return nil
	}))
}

// keepChains has the book hold every chain of the issuer's keys there is.
func (r *ring) keepChains() { r.book.IssuerChains = r.issuerChains() }

// certifyAgain is a chain of an issuer's key below another root.
func certifyAgain(id, root *identity) ([][]byte, error) {
	t, err := issuerTemplate(root)
	if err != nil {
		return nil, err
	}
	cert, err := root.sign(t, id.key.Public())
	if err != nil {
		return nil, err
	}
	return [][]byte{cert.Raw, root.cert.Raw}, nil
}

// RotateIssuer makes a key that signs requests to devices once they know it, and
// publishes it beside the present one.
func (a *Authority) RotateIssuer() error {
	return a.change(published(func(r *ring) error {
		if r.book.NextIssuerKey != nil {
			return ErrUnderWay
		}
		id, err := makeIssuer(r.tlsRoot)
		if err != nil {
			return err
		}
		if err := id.write(a.path(fileNextIssuer)); err != nil {
			return err
		}
		r.keepChains()
		r.book.IssuerChains = append(r.book.IssuerChains, chainOf(id, r.tlsRoot))
		r.book.Seq++
		r.book.NextIssuerKey = &next{ID: keyID(id), Since: r.book.Seq, Serving: true}
		return nil
	}))
}

// RetireIssuer puts the next key in the place of the present one, which is removed.
// Its certificate stays, for evidence.
func (a *Authority) RetireIssuer() error {
	return a.change(published(func(r *ring) error {
		if r.book.NextIssuerKey == nil {
			return ErrNotBegun
		}
		r.book.IssuerKey, r.book.NextIssuerKey = r.book.NextIssuerKey.ID, nil
		r.book.Seq++
		return nil
	}))
}

// RotateDeviceCA makes the device CA that certifies devices from now on. What the
// one before has certified stays good: each device's next renewal moves it over.
func (a *Authority) RotateDeviceCA() error {
	return a.change(published(func(r *ring) error {
		id, err := makeRoot("Countersign device CA")
		if err != nil {
			return err
		}
		if err := id.write(a.path(fileNextDeviceCA)); err != nil {
			return err
		}
		r.book.FormerDeviceCAs = append(r.book.FormerDeviceCAs, r.deviceCA.cert.Raw)
		r.book.DeviceCA = rootID(id)
		return nil
	}))
}

// RetireDeviceCAs refuses from now on what former device CAs have certified.
func (a *Authority) RetireDeviceCAs() error {
	return a.change(published(func(r *ring) error {
		if len(r.book.FormerDeviceCAs) == 0 {
			return ErrNotBegun
		}
		r.book.RetiredDeviceCAs = append(r.book.RetiredDeviceCAs, r.book.FormerDeviceCAs...)
		r.book.FormerDeviceCAs = nil
		return nil
	}))
}

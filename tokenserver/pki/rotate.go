package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"

	"countersign/protocol"
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

// Move publishes a new name, a new device URL, or both, as the first ones; "" leaves
// them as they are.
func (a *Authority) Move(issuer, deviceURL string) error {
	return a.change(published(func(r *ring) error {
		b := &r.book
		changed := false
		for _, l := range []struct {
			list *[]entry
			url  string
		}{{&b.Issuers, issuer}, {&b.DeviceURLs, deviceURL}} {
			if l.url == "" || (*l.list)[0].URL == l.url {
				continue
			}
			known := slices.ContainsFunc(*l.list, func(e entry) bool { return e.URL == l.url })
			if !known && len(*l.list) >= protocol.MaxTrustNames {
				return ErrTooMany
			}
			add(l.list, l.url, b.Seq+1)
			changed = true
		}
		if changed {
			b.Seq++
		}
		return nil
	}))
}

// Drop publishes a URL no more, neither as a name nor as a device URL. The last of
// each stays.
func (a *Authority) Drop(url string) error {
	return a.change(published(func(r *ring) error {
		dropped := false
		for _, list := range []*[]entry{&r.book.Issuers, &r.book.DeviceURLs} {
			rest := slices.DeleteFunc(slices.Clone(*list), func(e entry) bool { return e.URL == url })
			if len(rest) == len(*list) {
				continue
			}
			if len(rest) == 0 {
				return ErrUnknownName
			}
			*list, dropped = rest, true
		}
		if !dropped {
			return ErrUnknownName
		}
		r.book.Seq++
		return nil
	}))
}

// Needed is the least statement that a device must keep to know the server once a
// change is made: what replaces the present TLS root, the present issuer key, or a
// URL. It is 0 where every device knows it.
type Needed struct{ TLSRoot, IssuerKey int64 }

// Needs says it of the two keys; 0 where no change is under way.
func (a *Authority) Needs() (n Needed) {
	b := a.ring().book
	if b.NextTLSRoot != nil {
		n.TLSRoot = b.NextTLSRoot.Since
	}
	if b.NextIssuerKey != nil {
		n.IssuerKey = b.NextIssuerKey.Since
	}
	return n
}

// NeedsWithout says it of what is left once a URL is dropped.
func (a *Authority) NeedsWithout(url string) (seq int64) {
	b := a.ring().book
	for _, list := range [][]entry{b.Issuers, b.DeviceURLs} {
		if len(list) < 2 || !slices.ContainsFunc(list, func(e entry) bool { return e.URL == url }) {
			continue
		}
		least := int64(-1)
		for _, e := range list {
			if e.URL != url && (least < 0 || e.Since < least) {
				least = e.Since
			}
		}
		seq = max(seq, least)
	}
	return seq
}

// FormerlyCertified reports whether a former device CA has certified a chain, DER,
// leaf first.
func (a *Authority) FormerlyCertified(chain [][]byte) bool {
	r := a.ring()
	return len(chain) > 0 && !bytes.Equal(chain[len(chain)-1], r.deviceCA.cert.Raw)
}

// Key is a key or a root as it stands.
type Key struct {
	ID       string
	State    string
	Since    int64
	NotAfter int64
}

// The states of a Key.
const (
	KeyPresent  = "present"
	KeyPrepared = "prepared"
	KeyServing  = "serving"
	KeyFormer   = "former"
	KeyRetired  = "retired"
)

// TLSRoots, IssuerKeysNow and DeviceCAs list what there is, the present one first.
func (a *Authority) TLSRoots() []Key {
	r := a.ring()
	out := []Key{rootKey(r.tlsRoot.cert, KeyPresent, 0)}
	if n := r.book.NextTLSRoot; n != nil {
		out = append(out, rootKey(r.nextRoot.cert, n.state(), n.Since))
	}
	return append(out, certKeys(r.book.FormerTLSRoots, KeyRetired)...)
}

// IssuerKeysNow lists the keys that sign.
func (a *Authority) IssuerKeysNow() []Key {
	r := a.ring()
	out := []Key{{keyID(r.issuer), KeyPresent, 0, r.issuer.cert.NotAfter.Unix()}}
	if n := r.book.NextIssuerKey; n != nil {
		out = append(out, Key{n.ID, n.state(), n.Since, r.nextIssuer.cert.NotAfter.Unix()})
	}
	return out
}

// DeviceCAs lists the CAs of devices.
func (a *Authority) DeviceCAs() []Key {
	r := a.ring()
	out := []Key{rootKey(r.deviceCA.cert, KeyPresent, 0)}
	out = append(out, certKeys(r.book.FormerDeviceCAs, KeyFormer)...)
	return append(out, certKeys(r.book.RetiredDeviceCAs, KeyRetired)...)
}

func (n *next) state() string {
	if n.Serving {
		return KeyServing
	}
	return KeyPrepared
}

func rootKey(cert *x509.Certificate, state string, since int64) Key {
	return Key{protocol.Pin(protocol.SPKI(cert)), state, since, cert.NotAfter.Unix()}
}

func certKeys(list [][]byte, state string) (out []Key) {
	for _, der := range list {
		if cert, err := x509.ParseCertificate(der); err == nil {
			out = append(out, rootKey(cert, state, 0))
		}
	}
	return out
}

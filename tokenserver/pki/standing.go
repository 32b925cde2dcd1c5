package pki

import (
	"bytes"
	"crypto/x509"
	"slices"

	"countersign/protocol"
)

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

// TLSRoots lists the TLS roots, the present one first.
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

package pki

import (
	"encoding/json"
	"fmt"
	"slices"

	"countersign/protocol"
)

// Seq is the number of the published statement, 0 where there is none yet.
func (a *Authority) Seq() int64 { return a.ring().book.Seq }

// NameFor is what the server calls itself to a device that keeps the statement with
// the number seq: the newest name that it knows; "" before the server ever ran.
func (a *Authority) NameFor(seq int64) string {
	names := a.ring().book.Issuers
	for _, e := range names {
		if e.Since <= seq {
			return e.URL
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1].URL
}

// Names are all names of the server, newest first.
func (a *Authority) Names() []string { return urls(a.ring().book.Issuers) }

// Addresses are all names and device URLs, which the TLS certificate must hold.
func (r *ring) addresses() []string { return append(urls(r.book.Issuers), urls(r.book.DeviceURLs)...) }

func urls(list []entry) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.URL
	}
	return out
}

// Document is the trust document, signed with each key that a device may know the
// server by; nil before the server ever ran.
func (a *Authority) Document() ([]byte, error) {
	r := a.ring()
	if r.book.Seq == 0 {
		return nil, nil
	}
	r.signing.Do(func() { r.document, r.signed = r.sign() })
	return r.document, r.signed
}

// Statement is what the document says.
func (a *Authority) Statement() (protocol.Trust, error) { return a.ring().statement() }

func (r *ring) statement() (t protocol.Trust, err error) {
	b := r.book
	if b.Seq == 0 {
		return t, nil
	}
	t = protocol.Trust{Issuer: b.Issuers[0].URL, IssuedAt: b.ChangedAt.Unix(), Seq: b.Seq, DeviceURLs: urls(b.DeviceURLs)}
	for _, e := range b.Issuers[1:] {
		t.Former = append(t.Former, e.URL)
	}
	if !b.SystemRoots {
		t.TLSRoots = append(t.TLSRoots, r.tlsRoot.cert.Raw)
		if r.nextRoot != nil {
			t.TLSRoots = append(t.TLSRoots, r.nextRoot.cert.Raw)
		}
	}
	keys, err := r.issuerKeys()
	if err != nil {
		return t, err
	}
	t.Keys, err = protocol.NewTrustKeys(keys)
	return t, err
}

func (r *ring) sign() ([]byte, error) {
	t, err := r.statement()
	if err != nil {
		return nil, err
	}
	var doc protocol.TrustDocument
	for _, id := range []*identity{r.issuer, r.nextIssuer} {
		if id == nil {
			continue
		}
		compact, err := protocol.SignTrust(id.key, &t)
		if err != nil {
			return nil, fmt.Errorf("pki: trust statement: %w", err)
		}
		doc.Statements = append(doc.Statements, compact)
	}
	return json.Marshal(doc)
}

// Present publishes that the server is started under a name and with a device URL.
// Ones that are published already, also as former ones, change nothing: a name may
// be announced before the server is started under it. Those that were published for
// longest are dropped where there are too many.
func (a *Authority) Present(issuer, deviceURL string, systemRoots bool) error {
	return a.change(func(r *ring) error {
		b := &r.book
		changed := b.Seq == 0 || b.SystemRoots != systemRoots
		since := b.Seq + 1
		if b.Seq == 0 {
			since = 0 // what a device enrolled with
		}
		b.SystemRoots = systemRoots
		for _, l := range []struct {
			list *[]entry
			url  string
		}{{&b.Issuers, issuer}, {&b.DeviceURLs, deviceURL}} {
			if !slices.ContainsFunc(*l.list, func(e entry) bool { return e.URL == l.url }) {
				changed = true
				add(l.list, l.url, since)
			}
		}
		if changed {
			b.Seq++
		}
		return nil
	})
}

// add puts a URL first.
func add(list *[]entry, url string, since int64) {
	rest := slices.DeleteFunc(slices.Clone(*list), func(e entry) bool { return e.URL == url })
	*list = append([]entry{{url, since}}, rest...)
	*list = (*list)[:min(len(*list), protocol.MaxTrustNames)]
}

package pki

import (
	"slices"

	"countersign/protocol"
)

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

package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"countersign/protocol"
)

// book is trust.json: what the server is called and which keys it has had, beyond
// what the files of the keys say. A server that never ran has none.
type book struct {
	// Seq is the number of the published statement. It never goes back.
	Seq       int64     `json:"seq"`
	ChangedAt time.Time `json:"changed_at"`
	// Issuers and DeviceURLs are newest first.
	Issuers    []entry `json:"issuers"`
	DeviceURLs []entry `json:"device_urls"`
	// SystemRoots says that the operator brought a TLS certificate.
	SystemRoots bool `json:"system_roots,omitempty"`
	// TLSRoot, IssuerKey and DeviceCA name the present keys, once they are not the
	// first: a file that holds another is about to be replaced by that of the next.
	TLSRoot   string `json:"tls_root,omitempty"`
	IssuerKey string `json:"issuer_key,omitempty"`
	DeviceCA  string `json:"device_ca,omitempty"`
	// NextTLSRoot and NextIssuerKey stand beside the present ones, or are nil.
	NextTLSRoot   *next `json:"next_tls_root,omitempty"`
	NextIssuerKey *next `json:"next_issuer_key,omitempty"`
	// What follows are certificates of the past, DER. Former device CAs are still
	// good for devices; retired ones only for evidence.
	FormerTLSRoots   [][]byte `json:"former_tls_roots,omitempty"`
	FormerDeviceCAs  [][]byte `json:"former_device_cas,omitempty"`
	RetiredDeviceCAs [][]byte `json:"retired_device_cas,omitempty"`
	// IssuerChains are all chains that the issuer's keys ever had, oldest first.
	IssuerChains [][][]byte `json:"issuer_chains,omitempty"`
}

// entry is a URL, and the statement that published it first; 0 is before all of
// them, so that every device knows it.
type entry struct {
	URL   string `json:"url"`
	Since int64  `json:"since"`
}

// next is a key that is to take the place of the present one.
type next struct {
	// ID is the SPKI pin of a root or the thumbprint of a key.
	ID    string `json:"id"`
	Since int64  `json:"since"`
	// Serving says that it is used with who knows it.
	Serving bool `json:"serving,omitempty"`
}

// ring is everything that the directory holds at one moment.
type ring struct {
	tlsRoot, deviceCA, issuer *identity
	// nextRoot and nextIssuer are nil where there is none.
	nextRoot, nextIssuer *identity
	book                 book

	signing  sync.Once
	document []byte
	signed   error
}

// trusted are the roots of ca.pem, DER.
func (r *ring) trusted() [][]byte {
	out := [][]byte{r.tlsRoot.cert.Raw, r.deviceCA.cert.Raw}
	if r.nextRoot != nil {
		out = append(out, r.nextRoot.cert.Raw)
	}
	for _, list := range [][][]byte{r.book.FormerTLSRoots, r.book.FormerDeviceCAs, r.book.RetiredDeviceCAs} {
		for _, der := range list {
			if !contains(out, der) {
				out = append(out, der)
			}
		}
	}
	return out
}

func contains(list [][]byte, der []byte) bool {
	for _, have := range list {
		if bytes.Equal(have, der) {
			return true
		}
	}
	return false
}

func (a *Authority) readBook(r *ring) error {
	data, err := os.ReadFile(a.path(fileBook))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r.book)
	}
	if err != nil {
		return fmt.Errorf("pki: %s: %w", a.path(fileBook), err)
	}
	return nil
}

// keep makes what was read the present state. The caller holds the lock, so that the
// book has not changed since.
func (a *Authority) keep(r *ring) {
	a.now.Store(r)
	if info, err := os.Stat(a.path(fileBook)); err == nil {
		a.seen.Store(&info)
	}
}

// noted reports whether a book is the one that was read last.
func (a *Authority) noted(info fs.FileInfo) bool {
	seen := a.seen.Load()
	return seen != nil && os.SameFile(*seen, info) && (*seen).ModTime().Equal(info.ModTime())
}

// finish does what is left of a change that was committed to the book.
func (a *Authority) finish(b *book) error {
	for _, f := range []struct {
		present, next, id string
		pending           *next
		idOf              func(*identity) string
	}{
		{fileTLSRoot, fileNextRoot, b.TLSRoot, b.NextTLSRoot, rootID},
		{fileIssuer, fileNextIssuer, b.IssuerKey, b.NextIssuerKey, keyID},
		{fileDeviceCA, fileNextDeviceCA, b.DeviceCA, nil, rootID},
	} {
		id, err := readIdentity(a.path(f.next))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case f.id != "" && f.idOf(id) == f.id: // it has taken over
			if err := os.Rename(a.path(f.next), a.path(f.present)); err != nil {
				return fmt.Errorf("pki: %w", err)
			}
		case f.pending == nil: // it was made and never published
			if err := os.Remove(a.path(f.next)); err != nil {
				return fmt.Errorf("pki: %w", err)
			}
		}
	}
	if err := syncDir(a.dir); err != nil {
		return err
	}
	return a.certifyIssuer(b)
}

// certifyIssuer puts the newest certificate of the issuer's key beside it, once the
// root that certified it first is retired.
func (a *Authority) certifyIssuer(b *book) error {
	if len(b.IssuerChains) == 0 {
		return nil
	}
	id, err := readIdentity(a.path(fileIssuer))
	if err != nil {
		return err
	}
	newest := id.cert
	for _, chain := range b.IssuerChains {
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return fmt.Errorf("pki: %s: %w", a.path(fileBook), err)
		}
		if samePublic(leaf, id.cert) {
			newest = leaf
		}
	}
	if newest.Equal(id.cert) {
		return nil
	}
	return (&identity{id.key, newest}).write(a.path(fileIssuer))
}

func samePublic(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// readNext reads the keys that stand beside the present ones.
func (a *Authority) readNext(r *ring) (err error) {
	if r.book.NextTLSRoot != nil {
		if r.nextRoot, err = a.readNamed(fileNextRoot, r.book.NextTLSRoot.ID, rootID); err != nil {
			return err
		}
	}
	if r.book.NextIssuerKey != nil {
		r.nextIssuer, err = a.readNamed(fileNextIssuer, r.book.NextIssuerKey.ID, keyID)
	}
	return err
}

func (a *Authority) readNamed(file, id string, idOf func(*identity) string) (*identity, error) {
	got, err := readIdentity(a.path(file))
	if errors.Is(err, fs.ErrNotExist) || err == nil && idOf(got) != id {
		return nil, fmt.Errorf("%w: %s", ErrKeysMissing, a.path(file))
	}
	return got, err
}

func rootID(id *identity) string { return protocol.Pin(protocol.SPKI(id.cert)) }

func keyID(id *identity) string {
	kid, err := protocol.Thumbprint(id.cert.PublicKey)
	if err != nil {
		return "" // no key of ours
	}
	return kid
}

// Refresh reads the directory again where its book has changed.
func (a *Authority) Refresh() error {
	if current, err := a.current(); current || err != nil {
		return err
	}
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if current, err := a.current(); current || err != nil {
		return err // somebody was faster
	}
	r, err := a.read()
	if err != nil {
		return err
	}
	a.keep(r)
	return nil
}

// current reports whether the book is the one that was read last, or there is none.
func (a *Authority) current() (bool, error) {
	info, err := os.Stat(a.path(fileBook))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("pki: %w", err)
	}
	return a.noted(info), nil
}

// change makes one change to what the directory holds. Where f returns an error
// nothing is changed; files that it has written are cleared away later.
func (a *Authority) change(f func(r *ring) error) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := a.read()
	if err != nil {
		return err
	}
	was, err := json.Marshal(r.book)
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if err := f(r); err != nil {
		return err
	}
	if now, err := json.Marshal(r.book); err != nil || bytes.Equal(now, was) {
		return err
	}
	r.book.ChangedAt = time.Now().UTC().Truncate(time.Second)
	data, err := json.MarshalIndent(r.book, "", "  ")
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if err := writeFile(a.path(fileBook), append(data, '\n'), 0o600); err != nil {
		return err
	}
	if r, err = a.read(); err != nil {
		return err
	}
	a.keep(r)
	return nil
}

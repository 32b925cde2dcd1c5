package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"countersign/protocol"
)

// Trust is the newest statement of the server on its own names, addresses and keys
// that the device has verified. Once it is saved it holds, whatever happens.
type Trust struct {
	protocol.Trust
	// Past are the keys that the server had before, with which what was decided
	// long ago can be shown and nothing else.
	Past protocol.TrustKeys `json:"past_keys"`
}

// trustFile stands beside the profile, which earlier versions rewrite without what
// they do not know: the number of the statement must not go back.
const trustFile = "trust.json"

// SaveTrust makes a statement the profile's, durably, in one step, and writes into p
// what it says.
func (d *Dir) SaveTrust(p *Profile, t *Trust) error {
	dir := filepath.Join(d.root, profilesDir, p.ID)
	if err := writeJSON(filepath.Join(dir, trustFile), t); err != nil {
		return fmt.Errorf("state: save trust statement: %w", err)
	}
	if _, err := t.into(p); err != nil {
		return err
	}
	return d.SaveProfile(*p)
}

// resumeTrust reads the statement of a profile, and makes good a crash within
// SaveTrust.
func resumeTrust(dir string, p *Profile) error {
	t := new(Trust)
	err := readJSON(filepath.Join(dir, trustFile), t)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		return err
	}
	changed, err := t.into(p)
	if err != nil || !changed {
		return err
	}
	return writeJSON(filepath.Join(dir, profileFile), p)
}

// into gives p what the statement says, and reports whether that is news to it. The
// root, the URL and the name are what a version that knows no statements goes by:
// the root that the server shows to such a one, and the URL that it has, as long as
// that is good.
func (t *Trust) into(p *Profile) (changed bool, err error) {
	keys, err := t.Keys.JWKS()
	if err != nil {
		return false, err
	}
	was := *p
	p.Trust, p.Issuer = t, t.Issuer
	if !slices.Contains(t.DeviceURLs, p.DeviceURL) {
		p.DeviceURL = t.DeviceURLs[0]
	}
	p.Root = nil
	if len(t.TLSRoots) > 0 {
		p.Root = t.TLSRoots[0]
	}
	p.JWKS = keys
	return p.Issuer != was.Issuer || p.DeviceURL != was.DeviceURL || !slices.Equal(p.Root, was.Root) || !sameJSON(p.JWKS, was.JWKS), nil
}

// sameJSON compares what is written with what was indented.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	m, errM := json.Marshal(x)
	n, errN := json.Marshal(y)
	return errM == nil && errN == nil && slices.Equal(m, n)
}

// TrustSeq is the number of the statement that p keeps, 0 where it keeps none.
func (p Profile) TrustSeq() int64 {
	if p.Trust == nil {
		return 0
	}
	return p.Trust.Seq
}

// Names are the server's names, the present one first.
func (p Profile) Names() []string {
	if p.Trust == nil {
		return []string{p.Issuer}
	}
	return p.Trust.Names()
}

// URLs are where the server is, in the order of trying.
func (p Profile) URLs() []string {
	if p.Trust == nil {
		return []string{p.DeviceURL}
	}
	return p.Trust.DeviceURLs
}

// Roots are the only TLS roots to trust for the server, DER; none are the system's.
func (p Profile) Roots() [][]byte {
	switch {
	case p.Trust != nil:
		out := make([][]byte, len(p.Trust.TLSRoots))
		for i, der := range p.Trust.TLSRoots {
			out[i] = der
		}
		return out
	case len(p.Root) > 0:
		return [][]byte{p.Root}
	}
	return nil
}

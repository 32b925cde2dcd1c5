package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"countersign/protocol"
)

// Renewal is a new approval key that the server has certified. Once it is saved
// the key is the profile's, whatever happens; what is left to do is to tell the
// server so and to give the old key back to its chip.
type Renewal struct {
	// Key is the new key's reference, Facts what was true when it was made.
	Key   []byte   `json:"key"`
	Facts KeyFacts `json:"facts"`
	// Old is the reference of the key that it replaces, in the same chip.
	Old []byte `json:"old"`
	// Reserved names the reservations that the new key has made good.
	Reserved []string `json:"reserved,omitempty"`
	// ID is the server's, Renewed its answer. Unattested says why the chip
	// proved nothing; "" where it did.
	ID         string           `json:"id"`
	Renewed    protocol.Renewed `json:"renewed"`
	Unattested string           `json:"unattested,omitempty"`
}

const renewalFile = "renewal.json"

// SaveRenewal makes a new key a profile's, durably, in one step.
func (d *Dir) SaveRenewal(profile string, r *Renewal) error {
	if err := writeJSON(filepath.Join(d.root, profilesDir, profile, renewalFile), r); err != nil {
		return fmt.Errorf("state: save renewal: %w", err)
	}
	return nil
}

// Renewal reads a profile's renewal, or returns nil where there is none.
func (d *Dir) Renewal(profile string) (*Renewal, error) {
	return loadRenewal(filepath.Join(d.root, profilesDir, profile))
}

var errIncompleteRenewal = errors.New("the renewal is incomplete")

func loadRenewal(dir string) (*Renewal, error) {
	r := new(Renewal)
	err := readJSON(filepath.Join(dir, renewalFile), r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err == nil && (len(r.Key) == 0 || r.ID == "" || len(r.Renewed.Chain) == 0) {
		err = errIncompleteRenewal
	}
	return r, err
}

// CompleteRenewal writes the new key and its certificate into the profile p.
// The caller has saved r; a crash on the way is made good by the next Profiles.
func (d *Dir) CompleteRenewal(p *Profile, r *Renewal) error {
	if err := completeRenewal(filepath.Join(d.root, profilesDir, p.ID), p, r); err != nil {
		return fmt.Errorf("state: complete renewal: %w", err)
	}
	return nil
}

func completeRenewal(dir string, p *Profile, r *Renewal) error {
	p.Keys.Approval, p.ApprovalKey = r.Key, r.Facts
	p.Verdict, p.Unattested = r.Renewed.Attestation, r.Unattested
	p.ApprovalChain = make([][]byte, len(r.Renewed.Chain))
	for i, cert := range r.Renewed.Chain {
		p.ApprovalChain[i] = cert
	}
	return errors.Join(writeFile(filepath.Join(dir, approvalFile), r.Key), writeJSON(filepath.Join(dir, profileFile), p))
}

// resumeRenewal makes good a crash between SaveRenewal and CompleteRenewal.
func resumeRenewal(dir string, p *Profile) error {
	r, err := loadRenewal(dir)
	if err != nil || r == nil {
		return err
	}
	return completeRenewal(dir, p, r)
}

// RemoveRenewal forgets a renewal that has come to its end.
func (d *Dir) RemoveRenewal(profile string) error {
	if err := removeFile(filepath.Join(d.root, profilesDir, profile, renewalFile)); err != nil {
		return fmt.Errorf("state: remove renewal: %w", err)
	}
	return nil
}

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"countersign/protocol"
)

// Renewal is a new approval key on its way to take an old one's place, with all
// it takes to go on after a crash. Until Renewed is set the old key is the
// profile's and a renewal that cannot go on is abandoned; from then on the new
// one is, whatever happens.
type Renewal struct {
	Start protocol.RenewalStart `json:"start"`
	// Key is the new key's reference, Old that of the key it replaces, whose
	// place in the chip is given back in the end.
	Key []byte `json:"key"`
	Old []byte `json:"old"`
	// ID is the server's, Activation the proof for it, once there are any.
	ID         string                      `json:"id,omitempty"`
	Activation *protocol.RenewalActivation `json:"activation,omitempty"`
	// Renewed is the server's answer.
	Renewed *protocol.Renewed `json:"renewed,omitempty"`
}

const renewalFile = "renewal.json"

// SaveRenewal stores a profile's renewal, durably, before its next step.
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

func loadRenewal(dir string) (*Renewal, error) {
	r := new(Renewal)
	err := readJSON(filepath.Join(dir, renewalFile), r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	return r, err
}

// CompleteRenewal makes the new key and its certificate the profile's. The
// caller has saved r with Renewed; a crash on the way is made good by the next
// Profiles.
func (d *Dir) CompleteRenewal(p *Profile, r *Renewal) error {
	if err := completeRenewal(filepath.Join(d.root, profilesDir, p.ID), p, r); err != nil {
		return fmt.Errorf("state: complete renewal: %w", err)
	}
	return nil
}

func completeRenewal(dir string, p *Profile, r *Renewal) error {
	p.Keys.Approval = r.Key
	p.ApprovalChain = make([][]byte, len(r.Renewed.Chain))
	for i, cert := range r.Renewed.Chain {
		p.ApprovalChain[i] = cert
	}
	return errors.Join(p.Keys.save(dir), writeJSON(filepath.Join(dir, profileFile), p))
}

// RemoveRenewal forgets a renewal that has come to its end.
func (d *Dir) RemoveRenewal(profile string) error {
	if err := removeFile(filepath.Join(d.root, profilesDir, profile, renewalFile)); err != nil {
		return fmt.Errorf("state: remove renewal: %w", err)
	}
	return nil
}

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"countersign/protocol"
)

// Renewal is a new key that the server has certified. Once it is saved
// the key is the profile's, whatever happens; what is left to do is to tell the
// server so and to give the old key back to its chip.
type Renewal struct {
	// Role is which of the profile's keys it is.
	Role protocol.Role `json:"role"`
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

// renewalFile is where a renewal is, one for each role. Before device keys were
// renewed there was none but the approval key's, without a role.
func renewalFile(role protocol.Role) string {
	if role == protocol.RoleDevice {
		return "device-renewal.json"
	}
	return "renewal.json"
}

// SaveRenewal makes a new key a profile's, durably, in one step.
func (d *Dir) SaveRenewal(profile string, r *Renewal) error {
	if err := writeJSON(filepath.Join(d.root, profilesDir, profile, renewalFile(r.Role)), r); err != nil {
		return fmt.Errorf("state: save renewal: %w", err)
	}
	return nil
}

// Renewal reads a profile's renewal in a role, or returns nil where there is none.
func (d *Dir) Renewal(profile string, role protocol.Role) (*Renewal, error) {
	return loadRenewal(filepath.Join(d.root, profilesDir, profile), role)
}

var errIncompleteRenewal = errors.New("the renewal is incomplete")

func loadRenewal(dir string, role protocol.Role) (*Renewal, error) {
	r := new(Renewal)
	err := readJSON(filepath.Join(dir, renewalFile(role)), r)
	if r.Role == "" {
		r.Role = protocol.RoleApproval
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err == nil && (r.Role != role || len(r.Key) == 0 || r.ID == "" || len(r.Renewed.Chain) == 0) {
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
	file := approvalFile
	if r.Role == protocol.RoleDevice {
		file = deviceFile
	}
	r.into(p)
	return errors.Join(writeFile(filepath.Join(dir, file), r.Key), writeJSON(filepath.Join(dir, profileFile), p))
}

// into gives p the new key.
func (r *Renewal) into(p *Profile) {
	chain := make([][]byte, len(r.Renewed.Chain))
	for i, cert := range r.Renewed.Chain {
		chain[i] = cert
	}
	if r.Role == protocol.RoleDevice {
		p.Keys.Device, p.DeviceKey, p.DeviceChain = r.Key, r.Facts, chain
		return
	}
	p.Keys.Approval, p.ApprovalKey, p.ApprovalChain = r.Key, r.Facts, chain
	p.Verdict, p.Unattested = r.Renewed.Attestation, r.Unattested
}

// resumeRenewal makes good a crash between SaveRenewal and CompleteRenewal.
func resumeRenewal(dir string, p *Profile) error {
	for _, role := range []protocol.Role{protocol.RoleDevice, protocol.RoleApproval} {
		r, err := loadRenewal(dir, role)
		if err == nil && r != nil {
			err = completeRenewal(dir, p, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveRenewal forgets a renewal that has come to its end.
func (d *Dir) RemoveRenewal(profile string, role protocol.Role) error {
	if err := removeFile(filepath.Join(d.root, profilesDir, profile, renewalFile(role))); err != nil {
		return fmt.Errorf("state: remove renewal: %w", err)
	}
	return nil
}

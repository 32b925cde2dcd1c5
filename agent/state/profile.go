package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"countersign/hsm"
	"countersign/protocol"
)

// States of a profile.
const (
	Active      = "active"
	Unconfirmed = "unconfirmed"
	// Suspended: the server holds the device off, and may let it go on.
	Suspended = "suspended"
	Revoked   = "revoked"
)

// Profile is one user at one Token Server, with the keys made for it.
type Profile struct {
	ID     string `json:"id"`
	Device string `json:"device"`
	User   string `json:"user"`
	// Issuer is the server's name, DeviceURL where it is reached.
	Issuer    string `json:"issuer"`
	DeviceURL string `json:"device_url"`
	// Root is the only TLS root trusted for the server, DER; empty means the
	// system's roots.
	Root []byte `json:"root,omitempty"`
	// UID owns the profile: who enrolled it.
	UID  uint32 `json:"uid"`
	Name string `json:"name"`
	// Provider is the approval key's back end, "tpm" or "piv".
	Provider string `json:"provider"`
	// DeviceKey and ApprovalKey are what was true of the keys when they were
	// made.
	DeviceKey   KeyFacts `json:"device_key"`
	ApprovalKey KeyFacts `json:"approval_key"`
	// Verdict is what the server established about the approval key.
	Verdict protocol.Verdict `json:"verdict"`
	// Unattested says why the chips proved nothing; "" where they did.
	Unattested string `json:"unattested,omitempty"`
	// The chains are DER, leaf first.
	DeviceChain   [][]byte        `json:"device_chain"`
	ApprovalChain [][]byte        `json:"approval_chain"`
	JWKS          json.RawMessage `json:"jwks"`
	EnrolledAt    time.Time       `json:"enrolled_at"`
	State         string          `json:"state"`
	Reason        string          `json:"reason,omitempty"`
	// Leaving says that the owner wants the enrollment to end: once the server
	// has ended it, nothing of it stays.
	Leaving bool `json:"leaving,omitempty"`
	// Successor is the device that took the place of this one, as the server
	// said when it ended the enrollment, or "".
	Successor string `json:"successor,omitempty"`
	// Blocked are the relying parties that the user wants no more of.
	Blocked []Block `json:"blocked,omitempty"`

	// Keys stand in files of their own, in the format of their back end.
	Keys Keys `json:"-"`
	// Trust is the server's newest word on itself, in a file of its own, or nil.
	// What it says stands in Issuer, DeviceURL, Root and JWKS too.
	Trust *Trust `json:"-"`
}

// Block is a relying party that may not ask any more.
type Block struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Keys are the references of an enrollment's two keys.
type Keys struct{ Device, Approval []byte }

const (
	profileFile  = "profile.json"
	deviceFile   = "device.pem"
	approvalFile = "approval.pem"
)

func (k Keys) save(dir string) error {
	return errors.Join(
		writeFile(filepath.Join(dir, deviceFile), k.Device),
		writeFile(filepath.Join(dir, approvalFile), k.Approval),
	)
}

func loadKeys(dir string) (k Keys, err error) {
	if k.Device, err = os.ReadFile(filepath.Join(dir, deviceFile)); err != nil {
		return Keys{}, err
	}
	k.Approval, err = os.ReadFile(filepath.Join(dir, approvalFile))
	return k, err
}

// Profiles reads every profile. One that cannot be read is reported in the
// error and does not hide the others.
func (d *Dir) Profiles() ([]Profile, error) {
	names, err := d.names(profilesDir)
	if err != nil {
		return nil, err
	}
	var profiles []Profile
	var bad []error
	for _, name := range names {
		p, err := loadProfile(filepath.Join(d.root, profilesDir, name))
		if err != nil {
			bad = append(bad, fmt.Errorf("state: profile %s: %w", name, err))
			continue
		}
		profiles = append(profiles, p)
	}
	return profiles, errors.Join(bad...)
}

func loadProfile(dir string) (p Profile, err error) {
	if err := readJSON(filepath.Join(dir, profileFile), &p); err != nil {
		return Profile{}, err
	}
	if p.ID != filepath.Base(dir) {
		return Profile{}, fmt.Errorf("it is a copy of the profile %q", p.ID)
	}
	p.DeviceKey.complete(p.Provider, hsm.CounterNone)
	p.ApprovalKey.complete(p.Provider, hsm.CounterIndex)
	if p.Keys, err = loadKeys(dir); err != nil {
		return Profile{}, err
	}
	return p, errors.Join(resumeRenewal(dir, &p), resumeTrust(dir, &p))
}

// SaveProfile replaces what is known of an existing profile; its keys stay.
func (d *Dir) SaveProfile(p Profile) error {
	if err := writeJSON(filepath.Join(d.root, profilesDir, p.ID, profileFile), p); err != nil {
		return fmt.Errorf("state: save profile: %w", err)
	}
	return nil
}

// RemoveProfile forgets a profile with its outbox.
func (d *Dir) RemoveProfile(id string) error {
	if err := removeDir(filepath.Join(d.root, profilesDir, id)); err != nil {
		return fmt.Errorf("state: remove profile: %w", err)
	}
	return nil
}

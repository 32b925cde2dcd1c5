package state

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"countersign/hsm"
	"countersign/protocol"
)

// Enrollment is one under way, with all it takes to go on after a crash. It
// holds the one-time token, which the server has bound to these very keys by
// the time it matters.
type Enrollment struct {
	Name      string                   `json:"-"`
	Server    string                   `json:"server"`
	CA        []byte                   `json:"ca,omitempty"`
	Root      []byte                   `json:"root,omitempty"`
	UID       uint32                   `json:"uid"`
	Start     protocol.EnrollmentStart `json:"start"`
	StartedAt time.Time                `json:"started_at"`
	// Reserved names the reservations that its keys have made good.
	Reserved    []string `json:"reserved,omitempty"`
	DeviceKey   KeyFacts `json:"device_key"`
	ApprovalKey KeyFacts `json:"approval_key"`
	// Claims are what each back end said of its chip, by its name, and what it
	// needs to answer Challenge. Unattested says why there are none.
	Claims     map[string]hsm.Claim `json:"claims,omitempty"`
	Unattested string               `json:"unattested,omitempty"`
	// ID, Challenge and Credential are the server's, once it has answered the
	// first step.
	ID         string               `json:"id,omitempty"`
	Challenge  []byte               `json:"challenge,omitempty"`
	Credential *protocol.Credential `json:"credential,omitempty"`
	// Proof is the chips' answer to the challenge.
	Proof *protocol.ProofAttestation `json:"proof,omitempty"`
	Keys  Keys                       `json:"-"`
}

const enrollmentFile = "enrollment.json"

// BeginEnrollment makes an enrollment durable, keys and all, before the server
// hears of it, and sets its Name.
func (d *Dir) BeginEnrollment(e *Enrollment) error {
	e.Name = strings.ToLower(rand.Text())
	parent := filepath.Join(d.root, enrollingDir)
	tmp := filepath.Join(parent, tmpPrefix+e.Name)
	err := os.Mkdir(tmp, 0o700)
	if err == nil {
		err = errors.Join(e.Keys.save(tmp), writeJSON(filepath.Join(tmp, enrollmentFile), e))
	}
	if err == nil {
		err = moveDir(tmp, filepath.Join(parent, e.Name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("state: begin enrollment: %w", err), os.RemoveAll(tmp))
	}
	return nil
}

// SaveEnrollment stores what was learned since.
func (d *Dir) SaveEnrollment(e *Enrollment) error {
	if err := writeJSON(filepath.Join(d.root, enrollingDir, e.Name, enrollmentFile), e); err != nil {
		return fmt.Errorf("state: save enrollment: %w", err)
	}
	return nil
}

// CompleteEnrollment turns e into the profile p in one step. A caller that got
// an error may call again, however far the first call came.
func (d *Dir) CompleteEnrollment(e *Enrollment, p Profile) error {
	from, to := filepath.Join(d.root, enrollingDir, e.Name), filepath.Join(d.root, profilesDir, p.ID)
	err := prepareProfile(from, p)
	if err == nil {
		err = moveDir(from, to)
	}
	if errors.Is(err, os.ErrNotExist) && holdsKeys(to, e.Keys) {
		err = syncMove(from, to) // moved by an earlier call
	}
	if err == nil {
		// The token is spent; a leftover would only be clutter.
		err = removeFile(filepath.Join(to, enrollmentFile))
	}
	if err != nil {
		return fmt.Errorf("state: complete enrollment: %w", err)
	}
	return nil
}

// prepareProfile makes the directory of an enrollment into that of a profile.
// It makes no directory for an enrollment that is not there.
func prepareProfile(dir string, p Profile) error {
	if err := os.Mkdir(filepath.Join(dir, outboxDir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return writeJSON(filepath.Join(dir, profileFile), p)
}

func holdsKeys(dir string, want Keys) bool {
	got, err := loadKeys(dir)
	return err == nil && bytes.Equal(got.Device, want.Device) && bytes.Equal(got.Approval, want.Approval)
}

// AbandonEnrollment forgets e. The caller deletes its keys first.
func (d *Dir) AbandonEnrollment(e *Enrollment) error {
	if err := removeDir(filepath.Join(d.root, enrollingDir, e.Name)); err != nil {
		return fmt.Errorf("state: abandon enrollment: %w", err)
	}
	return nil
}

// Enrollments lists those under way. One that cannot be read is reported in
// the error and does not hide the others.
func (d *Dir) Enrollments() ([]*Enrollment, error) {
	names, err := d.names(enrollingDir)
	if err != nil {
		return nil, err
	}
	var list []*Enrollment
	var bad []error
	for _, name := range names {
		e, err := loadEnrollment(filepath.Join(d.root, enrollingDir, name))
		if err != nil {
			bad = append(bad, fmt.Errorf("state: enrollment %s: %w", name, err))
			continue
		}
		list = append(list, e)
	}
	return list, errors.Join(bad...)
}

func loadEnrollment(dir string) (*Enrollment, error) {
	e := &Enrollment{Name: filepath.Base(dir)}
	if err := readJSON(filepath.Join(dir, enrollmentFile), e); err != nil {
		return nil, err
	}
	e.DeviceKey.complete(e.Start.Device.Provider, hsm.CounterNone)
	e.ApprovalKey.complete(e.Start.Device.Provider, hsm.CounterIndex)
	var err error
	e.Keys, err = loadKeys(dir)
	return e, err
}

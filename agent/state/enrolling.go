package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	Provider  string                   `json:"provider"`
	Start     protocol.EnrollmentStart `json:"start"`
	StartedAt time.Time                `json:"started_at"`
	// ID is the server's, once it has answered the first step.
	ID   string `json:"id,omitempty"`
	Keys Keys   `json:"-"`
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

// SaveEnrollment stores what the first step taught.
func (d *Dir) SaveEnrollment(e *Enrollment) error {
	if err := writeJSON(filepath.Join(d.root, enrollingDir, e.Name, enrollmentFile), e); err != nil {
		return fmt.Errorf("state: save enrollment: %w", err)
	}
	return nil
}

// CompleteEnrollment turns e into the profile p in one step.
func (d *Dir) CompleteEnrollment(e *Enrollment, p Profile) error {
	from, to := filepath.Join(d.root, enrollingDir, e.Name), filepath.Join(d.root, profilesDir, p.ID)
	err := os.MkdirAll(filepath.Join(from, outboxDir), 0o700)
	if err == nil {
		err = writeJSON(filepath.Join(from, profileFile), p)
	}
	if err == nil {
		err = moveDir(from, to)
	}
	if err == nil {
		// The token is spent; a leftover would only be clutter.
		err = os.Remove(filepath.Join(to, enrollmentFile))
	}
	if err != nil {
		return fmt.Errorf("state: complete enrollment: %w", err)
	}
	return nil
}

// AbandonEnrollment forgets e. The caller deletes its keys first.
func (d *Dir) AbandonEnrollment(e *Enrollment) error {
	if err := removeDir(filepath.Join(d.root, enrollingDir, e.Name)); err != nil {
		return fmt.Errorf("state: abandon enrollment: %w", err)
	}
	return nil
}

// Enrollments lists those under way.
func (d *Dir) Enrollments() ([]*Enrollment, error) {
	names, err := d.names(enrollingDir)
	if err != nil {
		return nil, err
	}
	var list []*Enrollment
	for _, name := range names {
		dir := filepath.Join(d.root, enrollingDir, name)
		e := &Enrollment{Name: name}
		if err := readJSON(filepath.Join(dir, enrollmentFile), e); err != nil {
			return nil, fmt.Errorf("state: enrollment %s: %w", name, err)
		}
		if e.Keys, err = loadKeys(dir); err != nil {
			return nil, fmt.Errorf("state: enrollment %s: %w", name, err)
		}
		list = append(list, e)
	}
	return list, nil
}

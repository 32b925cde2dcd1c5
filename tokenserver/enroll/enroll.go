// Package enroll lets devices in and puts them out.
//
// A device enrolls in two steps with one token. The first gives the token to
// the device's two keys, for good: whoever finds the token later has other
// keys and is refused. The second issues the certificates. Either step, asked
// again with the same keys, answers the same, since answers get lost.
package enroll

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Service is the device's side of enrollment. It is safe for concurrent use.
type Service struct {
	Store  store.Store
	Hub    *fanout.Hub
	PKI    *pki.Authority
	Policy Policy
	// Issuer and DeviceURL are told to devices.
	Issuer    string
	DeviceURL string
	Now       func() time.Time
}

// Start is the first step. It refuses with *protocol.Problem or
// *protocol.Error.
func (s *Service) Start(ctx context.Context, req protocol.EnrollmentStart) (started protocol.EnrollmentStarted, err error) {
	d, err := s.candidate(req)
	if err != nil {
		return started, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		token, err := findToken(tx, d.TokenHash)
		if err != nil {
			return err
		}
		if token.UsedBy != "" {
			d, err = again(tx, token, d)
			return err
		}
		return s.admit(tx, token, &d)
	})
	return protocol.EnrollmentStarted{ID: d.Enrollment, Challenge: d.Challenge}, err
}

// candidate is the device as it presents itself, checked by itself.
func (s *Service) candidate(req protocol.EnrollmentStart) (store.Device, error) {
	if err := req.Device.Validate(); err != nil {
		return store.Device{}, err
	}
	if req.Attestation.Format != protocol.AttestationNone {
		return store.Device{}, problem.New(protocol.ProblemAttestation, "this server does not take this attestation format")
	}
	d := store.Device{
		ID: newID("d_"), Enrollment: newID("e_"), Profile: newID("p_"), TokenHash: hashToken(req.Token),
		State: store.DevicePending, Facts: req.Device, DeviceCSR: req.DeviceCSR, ApprovalCSR: req.ApprovalCSR,
		Challenge: make([]byte, sha256.Size), CreatedAt: s.Now(), ChangedAt: s.Now(),
	}
	d.Verdict = protocol.Verdict{Format: protocol.AttestationNone, Isolation: req.Device.Isolation, Chip: req.Device.Chip}
	_, _ = rand.Read(d.Challenge) // never fails
	if err := readKeys(&d); err != nil {
		return store.Device{}, err
	}
	return d, s.Policy.checkAlgorithm(d.ApprovalCSR)
}

// readKeys takes both keys from the certificate requests.
func readKeys(d *store.Device) error {
	device, err := pki.ParseCSR(d.DeviceCSR, protocol.RoleDevice)
	if err != nil {
		return problem.New(protocol.ProblemBadCSR, "device_csr: %s", strings.TrimPrefix(err.Error(), "pki: "))
	}
	approval, err := pki.ParseCSR(d.ApprovalCSR, protocol.RoleApproval)
	if err != nil {
		return problem.New(protocol.ProblemBadCSR, "approval_csr: %s", strings.TrimPrefix(err.Error(), "pki: "))
	}
	if d.DeviceKey, err = protocol.Thumbprint(device); err != nil {
		return err
	}
	if d.ApprovalKey, err = protocol.Thumbprint(approval); err != nil {
		return err
	}
	if d.DeviceKey == d.ApprovalKey {
		return problem.New(protocol.ProblemBadCSR, "the device key and the approval key are the same")
	}
	d.Code, err = protocol.ConfirmationCode(device, approval)
	return err
}

func findToken(tx store.Tx, hash []byte) (store.Token, error) {
	token, err := tx.Token(hash)
	if errors.Is(err, store.ErrNotFound) {
		return token, problem.New(protocol.ProblemTokenUnknown, "the enrollment token is not known here")
	}
	return token, err
}

// again answers a device that asks a second time, and refuses all others.
func again(tx store.Tx, token store.Token, d store.Device) (store.Device, error) {
	old, err := store.One(tx.Devices(store.DeviceFilter{Enrollment: token.UsedBy}))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	if err != nil || old.DeviceKey != d.DeviceKey || old.ApprovalKey != d.ApprovalKey {
		return d, problem.New(protocol.ProblemTokenUsed, "the enrollment token has been used by another device")
	}
	if old.State == store.DeviceRevoked {
		return d, problem.New(protocol.ProblemRevoked, "%s", old.Reason)
	}
	return old, nil
}

// admit stores a new device that may go on to the second step.
func (s *Service) admit(tx store.Tx, token store.Token, d *store.Device) error {
	if !s.Now().Before(token.ExpiresAt) {
		return problem.New(protocol.ProblemTokenExpired, "the enrollment token has expired")
	}
	d.User, d.Confirm, d.Replaces = token.User, token.Confirm, token.Replaces
	if s.Policy.Mode == ModeOverride {
		d.Replaces = store.ReplacesAll
	}
	if err := s.checkUser(tx, *d); err != nil {
		return err
	}
	if err := forgetAttempts(tx, *d); err != nil {
		return err
	}
	if err := tx.UseToken(token.Hash, d.Enrollment); err != nil {
		return err
	}
	if err := tx.AddDevice(*d); errors.Is(err, store.ErrConflict) {
		return problem.New(protocol.ProblemBadCSR, "a key is enrolled already")
	} else if err != nil {
		return err
	}
	return tx.AddEvent(store.Event{At: d.CreatedAt, Kind: "enrollment.started", User: d.User, Device: d.ID})
}

// forgetAttempts drops enrollments of the same keys that never came to
// anything, as after a token that expired between the steps. Only the owner of
// the keys can have got here.
func forgetAttempts(tx store.Tx, d store.Device) error {
	for _, key := range []string{d.DeviceKey, d.ApprovalKey} {
		stale, err := tx.Devices(store.DeviceFilter{Key: key, States: []store.DeviceState{store.DevicePending}})
		if err != nil {
			return err
		}
		for _, old := range stale {
			if err := tx.DropPending(old.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// internal keeps an error of our own from being taken for a refusal.
func internal(what string, err error) error { return fmt.Errorf("enroll: %s: %s", what, err.Error()) }

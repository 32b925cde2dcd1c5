// Package enroll lets devices in and puts them out.
//
// A device enrolls in two steps with one token. The first gives the token to
// the device's two keys, for good: whoever finds the token later has other
// keys and is refused. The second issues the certificates, which say what the
// chip proved of each key. A proof that was claimed and does not hold lets
// nobody in, not even as a device without one. Either step, asked again with
// the same body, answers the same, since answers get lost.
package enroll

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Service is the device's side of enrollment. It is safe for concurrent use.
type Service struct {
	Store       store.Store
	Hub         *fanout.Hub
	PKI         *pki.Authority
	Policy      Policy
	Attestation Attestation
	// Roots are the certificates under which attestations are believed, as
	// they stand at each call.
	Roots func() (*x509.CertPool, error)
	// Issuer and DeviceURL are told to devices.
	Issuer    string
	DeviceURL string
	// Lifetime is that of devices' certificates.
	Lifetime time.Duration
	Now      func() time.Time
}

// applicant is a device that is not in yet, with what it proves its keys by.
type applicant struct {
	device      store.Device
	attestation store.Attestation
	// succeeds is what it says of an enrollment that it had before, or nil.
	succeeds *protocol.Predecessor
}

func (a applicant) started() protocol.EnrollmentStarted {
	return protocol.EnrollmentStarted{ID: a.device.Enrollment, Challenge: a.device.Challenge, Credential: a.attestation.Credential}
}

// Start is the first step. It refuses with *protocol.Problem or
// *protocol.Error.
func (s *Service) Start(ctx context.Context, req protocol.EnrollmentStart) (started protocol.EnrollmentStarted, err error) {
	a, err := s.candidate(req)
	if err != nil {
		return started, err
	}
	var known bool
	err = s.Store.View(ctx, func(tx store.Tx) error {
		known, err = again(tx, &a)
		return err
	})
	if err != nil || known {
		return a.started(), err
	}
	// Only who has a token gets the server to look at certificates, and while
	// it does, nobody waits.
	if err := s.open(&a); err != nil {
		return started, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if known, err := again(tx, &a); known || err != nil {
			return err
		}
		return s.admit(tx, &a)
	})
	return a.started(), err
}

// candidate is the device as it presents itself, checked by itself.
func (s *Service) candidate(req protocol.EnrollmentStart) (a applicant, err error) {
	if err := req.Device.Validate(); err != nil {
		return a, err
	}
	d := store.Device{
		ID: store.NewID("d_"), Enrollment: store.NewID("e_"), Profile: store.NewID("p_"), TokenHash: store.HashSecret(req.Token),
		State: store.DevicePending, Facts: req.Device, DeviceCSR: req.DeviceCSR, ApprovalCSR: req.ApprovalCSR,
		Challenge: make([]byte, sha256.Size), CreatedAt: s.Now(), ChangedAt: s.Now(),
	}
	// So far it is the device's word.
	d.Verdict = attest.Verdict(nil, req.Device)
	d.DeviceVerdict = d.Verdict
	_, _ = rand.Read(d.Challenge) // never fails
	if err := readKeys(&d); err != nil {
		return applicant{}, err
	}
	return applicant{d, store.Attestation{Device: d.ID, Start: req.Attestation}, req.Succeeds}, s.Policy.checkAlgorithm(d.ApprovalCSR)
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

// again finds out whether the token has been given to this very device, which
// then is answered as before, and refuses all others.
func again(tx store.Tx, a *applicant) (known bool, err error) {
	token, err := findToken(tx, a.device.TokenHash)
	if err != nil || token.UsedBy == "" {
		return false, err
	}
	old, err := store.One(tx.Devices(store.DeviceFilter{Enrollment: token.UsedBy}))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if err != nil || old.DeviceKey != a.device.DeviceKey || old.ApprovalKey != a.device.ApprovalKey {
		return false, problem.New(protocol.ProblemTokenUsed, "the enrollment token has been used by another device")
	}
	if old.State == store.DeviceRevoked {
		return false, problem.New(protocol.ProblemRevoked, "%s", old.Reason)
	}
	proof, err := attestationOf(tx, old.ID)
	if err != nil {
		return false, err
	}
	same, err := sameStart(proof.Start, a.attestation.Start)
	if err != nil {
		return false, err
	}
	if !same {
		return false, problem.New(protocol.ProblemTokenUsed, "the enrollment token has been used with another attestation")
	}
	*a = applicant{device: old, attestation: proof}
	return true, nil
}

// sameStart compares what was stored with what came in, as they are written.
func sameStart(a, b protocol.StartAttestation) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, internal("stored attestation", err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		return false, internal("attestation", err)
	}
	return bytes.Equal(x, y), nil
}

// attestationOf is what a device proves its keys by: nothing, where it enrolled
// before there was a way to.
func attestationOf(tx store.Tx, device string) (store.Attestation, error) {
	a, err := tx.Attestation(device)
	if errors.Is(err, store.ErrNotFound) {
		return store.Attestation{Device: device, Start: protocol.StartAttestation{Format: protocol.AttestationNone}}, nil
	}
	return a, err
}

// admit stores a new device that may go on to the second step.
func (s *Service) admit(tx store.Tx, a *applicant) error {
	d := &a.device
	token, err := findToken(tx, d.TokenHash)
	if err != nil {
		return err
	}
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
	if err := s.succeed(tx, a); err != nil {
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
	if err := tx.AddAttestation(a.attestation); err != nil {
		return err
	}
	return tx.AddEvent(store.Event{At: d.CreatedAt, Kind: "enrollment.started", User: d.User, Device: d.ID, Detail: a.attestation.Start.Format})
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

// internal keeps an error of our own from being taken for a refusal.
func internal(what string, err error) error { return fmt.Errorf("enroll: %s: %s", what, err.Error()) }

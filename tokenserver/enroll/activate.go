package enroll

import (
	"bytes"
	"context"
	"errors"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// reasonReplaced is why an old device is revoked when a new one takes over.
const reasonReplaced = "replaced"

// Activate is the second step: it judges the attestation and issues the
// certificates, or answers with those issued before. It refuses with
// *protocol.Problem.
func (s *Service) Activate(ctx context.Context, enrollment string, req protocol.Activation) (*protocol.Enrolled, error) {
	var a applicant
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if a.device, err = s.find(tx, enrollment, req.Token); err != nil || a.device.State != store.DevicePending {
			return err
		}
		a.attestation, err = attestationOf(tx, a.device.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if a.device.State == store.DevicePending {
		if err := s.judge(&a, req.Attestation); err != nil {
			return nil, err
		}
		if err := s.letIn(ctx, &a, req.Token); err != nil {
			return nil, err
		}
	}
	return s.enrolled(a.device)
}

// letIn certifies the keys of a device that was judged, unless it has been let
// in meanwhile.
func (s *Service) letIn(ctx context.Context, a *applicant, token string) error {
	var gone []string
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		now, err := s.find(tx, a.device.Enrollment, token)
		if err != nil || now.State != store.DevicePending {
			a.device = now
			return err
		}
		if err := s.checkUser(tx, a.device); err != nil {
			return err
		}
		if err := s.issue(tx, a); err != nil || a.device.State != store.DeviceActive {
			return err
		}
		gone, err = replace(tx, a.device, s.Now())
		return err
	})
	publish(s.Hub, gone)
	return err
}

// find returns the enrollment if the token is its own.
func (s *Service) find(tx store.Tx, enrollment, secret string) (store.Device, error) {
	d, err := store.One(tx.Devices(store.DeviceFilter{Enrollment: enrollment}))
	hash := store.HashSecret(secret)
	if errors.Is(err, store.ErrNotFound) || err == nil && !bytes.Equal(d.TokenHash, hash) {
		return d, problem.New(protocol.ProblemTokenUnknown, "there is no such enrollment with this token")
	}
	if err != nil {
		return d, err
	}
	if d.State == store.DeviceRevoked {
		return d, problem.New(protocol.ProblemRevoked, "%s", d.Reason)
	}
	token, err := tx.Token(hash)
	if err != nil {
		return d, err
	}
	if d.State == store.DevicePending && !s.Now().Before(token.ExpiresAt) {
		return d, problem.New(protocol.ProblemTokenExpired, "the enrollment token has expired")
	}
	return d, nil
}

// issue certifies both keys and makes the device active or, where somebody
// must confirm it first, unconfirmed.
func (s *Service) issue(tx store.Tx, a *applicant) (err error) {
	d, now := &a.device, s.Now()
	if d.DeviceChain, err = s.certify(*d, d.DeviceCSR, protocol.RoleDevice, now); err != nil {
		return err
	}
	if d.ApprovalChain, err = s.certify(*d, d.ApprovalCSR, protocol.RoleApproval, now); err != nil {
		return err
	}
	d.State = store.DeviceActive
	if d.Confirm {
		d.State = store.DeviceUnconfirmed
	}
	err = tx.IssueDevice(d.ID, store.DeviceIssue{
		State: d.State, Verdict: d.Verdict, DeviceVerdict: d.DeviceVerdict,
		DeviceChain: d.DeviceChain, ApprovalChain: d.ApprovalChain, At: now,
	})
	if err != nil {
		return err
	}
	if a.attestation.Proof != nil {
		if err := tx.ProveAttestation(d.ID, *a.attestation.Proof); err != nil {
			return err
		}
	}
	return tx.AddEvent(store.Event{At: now, Kind: "device." + string(d.State), User: d.User, Device: d.ID, Detail: d.Verdict.Format})
}

// certify issues the certificate of one key, which says what was found of it.
func (s *Service) certify(d store.Device, csr []byte, role protocol.Role, now time.Time) ([][]byte, error) {
	key, err := pki.ParseCSR(csr, role)
	if err != nil {
		return nil, internal("stored request", err)
	}
	v := d.VerdictOn(role)
	info := protocol.KeyInfo{Role: role, PINBound: v.PINBound, TouchBound: v.TouchBound, Attestation: v.Format}
	return s.PKI.IssueDevice(d.ID, key, info, now, s.Lifetime)
}

// replace revokes the devices whose place a newly active one takes, and
// returns them.
func replace(tx store.Tx, d store.Device, now time.Time) (gone []string, err error) {
	if d.Replaces == "" {
		return nil, nil
	}
	f := store.DeviceFilter{User: d.User, States: []store.DeviceState{store.DeviceActive, store.DeviceUnconfirmed}}
	if d.Replaces != store.ReplacesAll {
		f.ID = d.Replaces
	}
	others, err := tx.Devices(f)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.ID == d.ID {
			continue
		}
		if err := revoke(tx, o, reasonReplaced, "", now); err != nil {
			return nil, err
		}
		if err := tx.SetSuccessor(o.ID, d.ID); err != nil {
			return nil, err
		}
		gone = append(gone, o.ID)
	}
	return gone, nil
}

func revoke(tx store.Tx, d store.Device, reason, client string, now time.Time) error {
	if err := tx.SetDeviceState(d.ID, d.State, store.DeviceRevoked, reason, now); err != nil {
		return err
	}
	return tx.AddEvent(store.Event{At: now, Kind: "device.revoked", User: d.User, Device: d.ID, Client: client, Detail: reason})
}

func publish(hub *fanout.Hub, devices []string) {
	for _, id := range devices {
		hub.Publish(fanout.Device(id))
	}
}

// firstName is the name that a device knows which keeps no statement on names, as
// a new one does.
func (s *Service) firstName() string {
	if name := s.PKI.NameFor(0); name != "" {
		return name
	}
	return s.Issuer
}

func (s *Service) enrolled(d store.Device) (*protocol.Enrolled, error) {
	keys, err := s.PKI.IssuerKeys()
	if err != nil {
		return nil, internal("keys", err)
	}
	jwks, err := keys.JWKS()
	if err != nil {
		return nil, internal("keys", err)
	}
	return &protocol.Enrolled{
		Profile: d.Profile, Device: d.ID, User: d.User, Issuer: s.firstName(), DeviceURL: s.DeviceURL,
		DeviceChain: d.DeviceChain, ApprovalChain: d.ApprovalChain, JWKS: jwks, Attestation: d.Verdict, Confirm: d.Confirm,
	}, nil
}

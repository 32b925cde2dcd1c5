package enroll

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Admit returns the device that calls, unless it may not renew anything now.
type Admit func(tx store.Tx) (store.Device, error)

// openStates are those of a renewal that has not come to its end.
func openStates() []store.RenewalState {
	return []store.RenewalState{store.RenewalPending, store.RenewalIssued}
}

// StartRenewal is the first step of a new key's way to the old one's place. Another
// one in this role that has not come to its end gives way: the device has lost it,
// and only the present key can have said so. It refuses with
// *protocol.Problem or *protocol.Error.
func (s *Service) StartRenewal(ctx context.Context, admit Admit, req protocol.RenewalStart) (started protocol.RenewalStarted, err error) {
	var d store.Device
	var known *store.Renewal
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if d, err = admit(tx); err != nil {
			return err
		}
		known, err = sameRenewal(tx, d, req)
		return err
	})
	if err != nil {
		return started, err
	}
	if known != nil {
		return startedRenewal(*known), nil
	}
	r, err := s.newRenewal(d, req)
	if err != nil {
		return started, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		known, err := sameRenewal(tx, d, req)
		if err != nil {
			return err
		}
		if known != nil {
			r = *known
			return nil
		}
		return s.addRenewal(tx, admit, r)
	})
	return startedRenewal(r), err
}

func startedRenewal(r store.Renewal) protocol.RenewalStarted {
	return protocol.RenewalStarted{ID: r.ID, Challenge: r.Challenge, Credential: r.Credential}
}

// sameRenewal finds the renewal that this very body started, or returns nil.
func sameRenewal(tx store.Tx, d store.Device, req protocol.RenewalStart) (*store.Renewal, error) {
	want, err := json.Marshal(req)
	if err != nil {
		return nil, internal("renewal", err)
	}
	list, err := tx.Renewals(store.RenewalFilter{Device: d.ID, Role: req.Role, States: openStates()})
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		have, err := json.Marshal(r.Request)
		if err != nil {
			return nil, internal("stored renewal", err)
		}
		if bytes.Equal(have, want) {
			return &r, nil
		}
	}
	return nil, nil //nolint:nilnil // it is a new one
}

// newRenewal judges what can be judged before the chip has proved anything.
func (s *Service) newRenewal(d store.Device, req protocol.RenewalStart) (r store.Renewal, err error) {
	r = store.Renewal{
		ID: store.NewID("r_"), Device: d.ID, State: store.RenewalPending, OldKey: d.KeyOf(req.Role), OldChain: d.ChainOf(req.Role),
		Request: req, Challenge: make([]byte, sha256.Size), CreatedAt: s.Now(), ChangedAt: s.Now(),
	}
	_, _ = rand.Read(r.Challenge) // never fails
	key, err := s.successor(d, req)
	if err != nil {
		return r, err
	}
	if r.Key, err = protocol.Thumbprint(key); err != nil {
		return r, err
	}
	return r, s.openRenewal(d, &r, key)
}

// addRenewal stores a new renewal in place of one that is open.
func (s *Service) addRenewal(tx store.Tx, admit Admit, r store.Renewal) error {
	d, err := admit(tx)
	if err != nil {
		return err
	}
	if d.KeyOf(r.Request.Role) != r.OldKey {
		return badSuccession("the device has another key by now")
	}
	others, err := tx.Renewals(store.RenewalFilter{Device: d.ID, Role: r.Request.Role, States: openStates()})
	if err != nil {
		return err
	}
	for _, o := range others {
		if err := tx.DropRenewal(o.ID, r.CreatedAt); err != nil {
			return err
		}
		if err := tx.AddEvent(renewalEvent(d, r, "key.renewal_dropped", "")); err != nil {
			return err
		}
	}
	if err := tx.AddRenewal(r); errors.Is(err, store.ErrConflict) {
		return problem.New(protocol.ProblemBadCSR, "the key is, was or was to be a device's already")
	} else if err != nil {
		return err
	}
	return tx.AddEvent(renewalEvent(d, r, "key.renewal_started", r.Request.Attestation.Format))
}

func renewalEvent(d store.Device, r store.Renewal, kind, detail string) store.Event {
	return store.Event{At: r.ChangedAt, Kind: kind, User: d.User, Device: d.ID, Detail: strings.TrimSpace(string(r.Request.Role) + " " + detail)}
}

// ActivateRenewal is the second step: it judges what the chip proves of the new
// key and certifies it. From then on both keys are good. It may be repeated, as
// long as the renewal has not given way to another.
func (s *Service) ActivateRenewal(ctx context.Context, admit Admit, id string, req protocol.RenewalActivation) (*protocol.Renewed, error) {
	var d store.Device
	var r store.Renewal
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		d, r, err = findRenewal(tx, admit, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.State == store.RenewalPending {
		if err := s.judgeRenewal(d, &r, req.Attestation); err != nil {
			return nil, err
		}
		if r, err = s.issueRenewal(ctx, admit, r); err != nil {
			return nil, err
		}
	}
	out := &protocol.Renewed{Attestation: r.Verdict}
	for _, cert := range r.Chain {
		out.Chain = append(out.Chain, cert)
	}
	return out, nil
}

// findRenewal returns a renewal of the calling device that has not given way to
// another.
func findRenewal(tx store.Tx, admit Admit, id string) (store.Device, store.Renewal, error) {
	d, err := admit(tx)
	if err != nil {
		return d, store.Renewal{}, err
	}
	r, err := store.One(tx.Renewals(store.RenewalFilter{ID: id, Device: d.ID}))
	if id == "" || errors.Is(err, store.ErrNotFound) || err == nil && r.State == store.RenewalDropped {
		return d, r, problem.New(protocol.ProblemNotFound, "this device has no such renewal, or has started another since")
	}
	return d, r, err
}

// issueRenewal certifies a key that was judged, unless that has happened
// meanwhile.
func (s *Service) issueRenewal(ctx context.Context, admit Admit, judged store.Renewal) (r store.Renewal, err error) {
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		d, now, err := findRenewal(tx, admit, judged.ID)
		if err != nil {
			return err
		}
		r = now
		if now.State != store.RenewalPending {
			return nil
		}
		at := s.Now()
		role := r.Request.Role
		if err := notLower(judged.Verdict, d.VerdictOn(role)); err != nil {
			return err
		}
		if judged.Chain, err = s.certify(withVerdict(d, role, judged.Verdict), r.Request.CSR, role, at); err != nil {
			return err
		}
		r, r.State, r.ChangedAt = judged, store.RenewalIssued, at
		if err := tx.IssueRenewal(r.ID, r.RenewalIssue, at); err != nil {
			return err
		}
		return tx.AddEvent(renewalEvent(d, r, "key.renewed", r.Verdict.Format))
	})
	return r, err
}

// AcknowledgeRenewal is the last step: the device keeps the new certificate, and
// the old key is good for nothing more. It may be repeated.
func (s *Service) AcknowledgeRenewal(ctx context.Context, admit Admit, id string) error {
	return s.Store.Update(ctx, func(tx store.Tx) error {
		d, r, err := findRenewal(tx, admit, id)
		if err != nil || r.State == store.RenewalDone {
			return err
		}
		if r.State != store.RenewalIssued {
			return problem.New(protocol.ProblemNotFound, "the new key has no certificate yet")
		}
		r.ChangedAt = s.Now()
		if err := tx.CompleteRenewal(r.ID, r.ChangedAt); err != nil {
			return err
		}
		return tx.AddEvent(renewalEvent(d, r, "key.retired", ""))
	})
}

// Package machines lets the computers of a fleet in, without a person, and keeps
// what they report.
//
// A machine is a TPM, by its endorsement key: one machine has one entry, however
// often its computer is installed anew. It enrolls with a token that is good for
// so many machines, or because the operator registered its endorsement key. Either
// way the TPM proves that it has that endorsement key and that the machine's key
// was made in it and stays there; so a copy of the disk is worth nothing in
// another computer. What the endorsement key itself is worth, a machine's entry
// says: its maker certified it, the operator registered it, or nobody vouches for
// it.
//
// A machine's certificate is good for reporting and for nothing else.
package machines

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/limit"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Policy is what the operator decided about machines.
type Policy struct {
	// Off lets no machine enroll. Those that have go on.
	Off bool
	// RequireAttested refuses a machine for whose TPM neither a maker trusted here
	// nor the operator vouches.
	RequireAttested bool
}

// How often a machine's side may do what costs the server something.
const (
	// guessesPerMinute is how many tokens that do not exist may come from one
	// address.
	guessesPerMinute = 20
	// reportsPerMinute is for each machine.
	reportsPerMinute = 6
	// enrollmentsPerHour is for each endorsement key: what it proves stays for good.
	enrollmentsPerHour = 12
)

// seenWithin is how exactly it is known when a machine called last: each call that
// only asks is not worth a write.
const seenWithin = time.Minute

// openFor is how long a machine has between the two steps. With one token openAlways
// may be between them, and openPerUse more for each use that it has, up to maxOpen.
// Of registered keys each has one.
const (
	openFor    = time.Hour
	openAlways = 64
	openPerUse = 4
	maxOpen    = 20_000
)

// Config is what a Service is made of. Every field is required.
type Config struct {
	Store  store.Store
	PKI    *pki.Authority
	Policy Policy
	// Roots are the certificates under which makers of chips are believed, as they
	// stand at each call.
	Roots func() (*x509.CertPool, error)
	// Issuer and DeviceURL are told to machines.
	Issuer, DeviceURL string
	// Lifetime is that of machines' certificates.
	Lifetime time.Duration
	Now      func() time.Time
}

// Service is the machines' side. It is safe for concurrent use.
type Service struct {
	Config
	guesses, reports, enrollments limit.Limiter
}

// New makes a Service.
func New(c Config) *Service {
	return &Service{
		Config:      c,
		guesses:     limit.Limiter{Most: guessesPerMinute, Window: time.Minute},
		reports:     limit.Limiter{Most: reportsPerMinute, Window: time.Minute},
		enrollments: limit.Limiter{Most: enrollmentsPerHour, Window: time.Hour},
	}
}

func (s *Service) trust() (attest.Trust, error) {
	pool, err := s.Roots()
	if err != nil {
		return attest.Trust{}, internal("attestation roots", err)
	}
	return attest.Trust{Roots: pool, Now: s.Now()}, nil
}

// pass is what lets a machine in: a token's id, or "" for a registered key.
type pass struct {
	token      string
	registered bool
	// most is how many machines may be enrolling with the token.
	most int
	// counted says that the token has counted this machine already.
	counted bool
}

// admit finds what lets the machine of an endorsement key in now. A token is
// looked at first, so that nobody without one learns who is revoked.
func (s *Service) admit(tx store.Tx, ek string, find func(tx store.Tx) (store.MachineToken, error)) (p pass, err error) {
	_, err = tx.RegisteredEK(ek)
	p.registered = err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	if p.registered {
		return p, nil
	}
	if find == nil {
		return p, problem.New(protocol.ProblemMachineUnknown, "there is neither a token, nor is the endorsement key registered")
	}
	t, err := find(tx)
	if errors.Is(err, store.ErrNotFound) {
		return p, problem.New(protocol.ProblemTokenUnknown, "the machine token is not known here")
	}
	if err != nil {
		return p, err
	}
	p.token, p.most = t.ID, min(maxOpen, openAlways+openPerUse*t.Uses)
	m, err := store.One(tx.Machines(store.MachineFilter{EK: ek}))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	known := err == nil
	p.counted = known && m.Token == t.ID
	switch {
	case !t.RevokedAt.IsZero():
		return p, problem.New(protocol.ProblemTokenRevoked, "the machine token has been revoked")
	case !s.Now().Before(t.ExpiresAt):
		return p, problem.New(protocol.ProblemTokenExpired, "the machine token has expired")
	case t.Used >= t.Uses && !p.counted:
		return p, problem.New(protocol.ProblemTokenUsed, "the machine token has enrolled as many machines as it may")
	case known && m.State == store.MachineRevoked:
		return p, problem.New(protocol.ProblemMachineRevoked, "the machine has been revoked")
	}
	return p, nil
}

// byText finds a token by itself; nil where there is none.
func byText(text string) func(store.Tx) (store.MachineToken, error) {
	if text == "" {
		return nil
	}
	return func(tx store.Tx) (store.MachineToken, error) { return tx.MachineTokenOf(store.HashSecret(text)) }
}

// byID finds a token that was there before; nil where there was none.
func byID(id string) func(store.Tx) (store.MachineToken, error) {
	if id == "" {
		return nil
	}
	return func(tx store.Tx) (store.MachineToken, error) { return tx.MachineToken(id) }
}

func (s *Service) endorsement(p pass, certified bool) (string, error) {
	switch {
	case certified:
		return protocol.EndorsedByMaker, nil
	case p.registered:
		return protocol.EndorsedByOperator, nil
	case s.Policy.RequireAttested:
		return "", problem.New(protocol.ProblemPolicy, "this server lets no machine in whose TPM neither a maker that it trusts nor its operator vouches for")
	}
	return protocol.NotEndorsed, nil
}

// tooOften is what is said where a limiter says no.
func tooOften(what string, now, again time.Time) error {
	p := problem.New(protocol.ProblemRateLimited, "%s", what)
	p.RetryAfter = max(1, int(again.Sub(now).Round(time.Second)/time.Second))
	return p
}

// internal keeps an error of our own from being taken for a refusal.
func internal(what string, err error) error { return fmt.Errorf("machines: %s: %s", what, err.Error()) }

// active finds the machine with a key, as it stands now.
func active(tx store.Tx, key string) (store.Machine, error) {
	m, err := store.One(tx.Machines(store.MachineFilter{Key: key}))
	switch {
	case errors.Is(err, store.ErrNotFound):
		if _, err := tx.MachineEnrollmentOf(key); err == nil {
			return m, problem.New(protocol.ProblemRevoked, "the machine has enrolled again with another key")
		} else if !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
		return m, problem.New(protocol.ProblemUnauthorized, "no machine has this key")
	case err != nil:
		return m, err
	case m.State != store.MachineActive:
		return m, problem.New(protocol.ProblemRevoked, "%s", m.Reason)
	}
	return m, nil
}

// State says how the machine with a key stands.
func (s *Service) State(ctx context.Context, key string) (out protocol.MachineState, err error) {
	var seen time.Time
	err = s.Store.View(ctx, func(tx store.Tx) error {
		m, err := active(tx, key)
		if err != nil {
			return err
		}
		out = protocol.MachineState{Machine: m.ID, Endorsement: m.Endorsement}
		seen = m.SeenAt
		return nil
	})
	if err != nil || s.Now().Sub(seen).Abs() < seenWithin {
		return out, err
	}
	return out, s.Store.Update(ctx, func(tx store.Tx) error { return tx.SeeMachine(out.Machine, s.Now(), nil) })
}

// NoteTrust remembers which statement on the server's names and keys the machine with
// a key says that it keeps.
func (s *Service) NoteTrust(ctx context.Context, key string, seq int64) error {
	var m store.Machine
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		m, err = active(tx, key)
		return err
	})
	if err != nil || seq <= m.TrustSeq {
		return err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error { return tx.SetMachineTrust(m.ID, seq, s.Now()) })
	if errors.Is(err, store.ErrConflict) {
		return nil // it said so in another call
	}
	return err
}

// Report keeps what the machine with a key says of itself.
func (s *Service) Report(ctx context.Context, key string, r protocol.MachineReport) error {
	if ok, again := s.reports.Admit(key, s.Now()); !ok {
		return tooOften("the machine reports too often", s.Now(), again)
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		m, err := active(tx, key)
		if err != nil {
			return err
		}
		return tx.SeeMachine(m.ID, s.Now(), &r)
	})
}

// Certify gives the machine with a key a new certificate of that key.
func (s *Service) Certify(ctx context.Context, key string, cert *x509.Certificate) (out protocol.MachineCertificate, err error) {
	if ok, again := s.reports.Admit("certificate "+key, s.Now()); !ok {
		return out, tooOften("the machine asks for certificates too often", s.Now(), again)
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		m, err := active(tx, key)
		if err != nil {
			return err
		}
		if m.Chain, err = s.issue(m, cert.PublicKey); err != nil {
			return err
		}
		if err := tx.SetMachineChain(m.ID, m.Chain); err != nil {
			return err
		}
		out.Chain = blobs(m.Chain)
		return errors.Join(
			tx.SeeMachine(m.ID, s.Now(), nil),
			tx.AddEvent(store.Event{At: s.Now(), Kind: "machine.certified", Machine: m.ID}),
		)
	})
	return out, err
}

// issue certifies a machine's key.
func (s *Service) issue(m store.Machine, key any) ([][]byte, error) {
	info := protocol.KeyInfo{Role: protocol.RoleMachine, Attestation: protocol.AttestationTPM2}
	if m.Endorsement == protocol.NotEndorsed {
		info.Attestation = protocol.AttestationNone
	}
	return s.PKI.IssueDevice(m.ID, key, info, s.Now(), s.Lifetime)
}

func blobs(list [][]byte) []protocol.Blob {
	out := make([]protocol.Blob, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}

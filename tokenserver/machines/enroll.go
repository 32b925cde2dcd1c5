package machines

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Start is the first step of a machine at a network address. It refuses with
// *protocol.Problem or *protocol.Error.
func (s *Service) Start(ctx context.Context, address string, req protocol.MachineStart) (started protocol.MachineStarted, err error) {
	if s.Policy.Off {
		return started, off()
	}
	e, find, err := s.candidate(req)
	if err != nil {
		return started, err
	}
	var p pass
	var known bool
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		if p, err = s.admit(tx, e.EK, find); err != nil {
			return err
		}
		known, err = again(tx, &e, p)
		return err
	})
	if err != nil {
		return started, s.countGuess(address, err)
	}
	if !known {
		// Nobody waits while certificates are looked at, and only who has what
		// lets a machine in gets the server to look.
		if err := s.open(&e, p); err != nil {
			return started, err
		}
		if err := s.Store.Update(ctx, func(tx store.Tx) error { return s.begin(tx, &e, find) }); err != nil {
			return started, err
		}
	}
	return protocol.MachineStarted{ID: e.ID, Challenge: e.Challenge, Credential: e.Credential}, nil
}

func off() error {
	return problem.New(protocol.ProblemMachinesOff, "this server enrolls no machines")
}

// countGuess tells an address with too many tokens that do not exist to wait. One that
// exists is let in from there all the same: behind one router are many, and no number
// of guesses finds a token.
func (s *Service) countGuess(address string, err error) error {
	p, ok := errors.AsType[*protocol.Problem](err)
	if !ok || p.Code != protocol.ProblemTokenUnknown {
		return err
	}
	if ok, again := s.guesses.Admit(address, s.Now()); !ok {
		return tooOften("too many tokens from this address were none", s.Now(), again)
	}
	return err
}

// candidate is the machine as it presents itself, checked by itself, and how its
// token is found.
func (s *Service) candidate(req protocol.MachineStart) (e store.MachineEnrollment, find func(store.Tx) (store.MachineToken, error), err error) {
	if err := req.Machine.Validate(); err != nil {
		return e, nil, err
	}
	if err := protocol.CheckText("token", req.Token, maxToken); err != nil {
		return e, nil, err
	}
	find = byText(req.Token)
	req.Token = ""
	e = store.MachineEnrollment{ID: store.NewID("n_"), EK: protocol.EKName(req.EK), Start: req, Challenge: make([]byte, sha256.Size), CreatedAt: s.Now()}
	_, _ = rand.Read(e.Challenge) // never fails
	key, err := keyOf(req)
	if err != nil {
		return e, nil, err
	}
	e.Key, err = protocol.Thumbprint(key)
	return e, find, err
}

// maxToken bounds a token, in bytes.
const maxToken = 128

// keyOf is the key that asks for a certificate.
func keyOf(req protocol.MachineStart) (crypto.PublicKey, error) {
	key, err := pki.ParseCSR(req.CSR, protocol.RoleMachine)
	if err != nil {
		return nil, problem.New(protocol.ProblemBadCSR, "csr: %s", strings.TrimPrefix(err.Error(), "pki: "))
	}
	return key, nil
}

// again finds out whether this very key has started before, and is answered as
// before where it says the same.
func again(tx store.Tx, e *store.MachineEnrollment, p pass) (known bool, err error) {
	old, err := tx.MachineEnrollmentOf(e.Key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	was, err := json.Marshal(old.Start)
	if err != nil {
		return false, internal("stored enrollment", err)
	}
	is, err := json.Marshal(e.Start)
	if err != nil {
		return false, internal("enrollment", err)
	}
	if old.Token != p.token || !bytes.Equal(was, is) {
		return false, problem.New(protocol.ProblemBadCSR, "the key has begun to enroll already, in another way")
	}
	*e = old
	return true, nil
}

// open judges who vouches for the TPM, and seals the challenge for it.
func (s *Service) open(e *store.MachineEnrollment, p pass) error {
	trust, err := s.trust()
	if err != nil {
		return err
	}
	opened, certified, err := attest.OpenMachine(trust, tpmOf(e.Start))
	if err != nil {
		return err
	}
	e.Token, e.Credential, e.Secret = p.token, *opened.Credential, opened.Secret
	e.Endorsement, err = s.endorsement(p, certified)
	return err
}

func tpmOf(req protocol.MachineStart) attest.Machine {
	return attest.Machine{EK: req.EK, Chain: req.EKChain, AK: req.AK}
}

// begin stores a machine that may go on to the second step.
func (s *Service) begin(tx store.Tx, e *store.MachineEnrollment, find func(store.Tx) (store.MachineToken, error)) error {
	p, err := s.admit(tx, e.EK, find)
	if err != nil {
		return err
	}
	if known, err := again(tx, e, p); known || err != nil {
		return err
	}
	if err := tx.DropMachineEnrollments(s.Now().Add(-openFor)); err != nil {
		return err
	}
	if p.token != "" {
		n, err := tx.OpenMachineEnrollments(p.token)
		if err != nil {
			return err
		}
		if n >= p.most {
			return tooOften("too many machines are enrolling with this token", s.Now(), s.Now().Add(openFor))
		}
	}
	err = tx.AddMachineEnrollment(*e)
	if errors.Is(err, store.ErrConflict) {
		return problem.New(protocol.ProblemBadCSR, "the key is, or was, another's")
	}
	return err
}

// Activate is the second step: it judges the proof and issues the certificate, or
// answers with that issued before. It refuses with *protocol.Problem.
func (s *Service) Activate(ctx context.Context, id string, req protocol.MachineActivation) (out protocol.MachineEnrolled, err error) {
	var e store.MachineEnrollment
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		e, err = findEnrollment(tx, id)
		return err
	})
	if err != nil {
		return out, err
	}
	var found proven
	if e.Machine == "" {
		if found, err = s.judge(e, req); err != nil {
			return out, err
		}
		if ok, again := s.enrollments.Admit(e.EK, s.Now()); !ok {
			return out, tooOften("the machine has enrolled too often", s.Now(), again)
		}
	} else if subtle.ConstantTimeCompare(req.Secret, e.Secret) != 1 {
		// Whoever cannot open the credential learns nothing.
		return out, problem.New(protocol.ProblemAttestation, "the TPM has not opened its credential")
	}
	var m store.Machine
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if e, err = findEnrollment(tx, id); err != nil {
			return err
		}
		if e.Machine == "" {
			m, err = s.letIn(tx, e, found, req)
			return err
		}
		m, err = active(tx, e.Key)
		return err
	})
	if err != nil {
		return out, err
	}
	keys, err := s.PKI.IssuerKeys()
	if err != nil {
		return out, internal("keys", err)
	}
	out = protocol.MachineEnrolled{Machine: m.ID, Issuer: s.firstName(), DeviceURL: s.DeviceURL, Chain: blobs(m.Chain), Endorsement: m.Endorsement}
	if out.JWKS, err = keys.JWKS(); err != nil {
		return out, internal("keys", err)
	}
	return out, nil
}

// firstName is the server's name as whoever keeps no statement on it knows it.
func (s *Service) firstName() string {
	if name := s.PKI.NameFor(0); name != "" {
		return name
	}
	return s.Issuer
}

func findEnrollment(tx store.Tx, id string) (store.MachineEnrollment, error) {
	e, err := tx.MachineEnrollment(id)
	if errors.Is(err, store.ErrNotFound) {
		return e, problem.New(protocol.ProblemNotFound, "there is no such enrollment, or it took too long: start again")
	}
	return e, err
}

// proven is what a TPM has proved, and whether a maker that is trusted now has
// certified it.
type proven struct {
	attest.Finding
	certified bool
}

func (s *Service) judge(e store.MachineEnrollment, req protocol.MachineActivation) (p proven, err error) {
	if s.Policy.Off {
		return p, off()
	}
	trust, err := s.trust()
	if err != nil {
		return p, err
	}
	key, err := keyOf(e.Start)
	if err != nil {
		return p, internal("stored request", err)
	}
	p.Finding, p.certified, err = attest.VerifyMachine(trust, attest.MachineCase{
		Machine: tpmOf(e.Start), Opened: req.Secret, Key: req.Key, Nonce: e.Challenge, Secret: e.Secret, Public: key,
	})
	return p, err
}

// letIn makes a machine of an enrollment that was judged, in place of what this
// TPM was before. A token counts the machines that it let in, and each once. What
// vouches for the TPM counts as it stands now.
func (s *Service) letIn(tx store.Tx, e store.MachineEnrollment, found proven, req protocol.MachineActivation) (m store.Machine, err error) {
	p, err := s.admit(tx, e.EK, byID(e.Token))
	if err != nil {
		return m, err
	}
	endorsement, err := s.endorsement(p, found.certified)
	if err != nil {
		return m, err
	}
	if p.token != "" && !p.counted {
		if err := tx.UseMachineToken(p.token); errors.Is(err, store.ErrConflict) {
			return m, problem.New(protocol.ProblemTokenUsed, "the machine token has enrolled as many machines as it may")
		} else if err != nil {
			return m, err
		}
	}
	now, kind := s.Now(), "machine.enrolled"
	m, err = store.One(tx.Machines(store.MachineFilter{EK: e.EK}))
	switch {
	case errors.Is(err, store.ErrNotFound):
		m = store.Machine{ID: store.NewID("m_"), EK: e.EK, CreatedAt: now}
	case err != nil:
		return m, err
	default:
		kind = "machine.enrolled_again"
	}
	m.State, m.Reason, m.Facts, m.Endorsement, m.Chip = store.MachineActive, "", e.Start.Machine, endorsement, found.Chip
	m.Key, m.Token, m.EnrolledAt, m.SeenAt, m.Report, m.ReportedAt = e.Key, p.token, now, now, nil, time.Time{}
	m.TrustSeq, m.TrustAt = 0, time.Time{}
	key, err := keyOf(e.Start)
	if err != nil {
		return m, internal("stored request", err)
	}
	if m.Chain, err = s.issue(m, key); err != nil {
		return m, err
	}
	if err := errors.Join(tx.PutMachine(m), tx.ProveMachineEnrollment(e.ID, m.ID, req)); err != nil {
		return m, err
	}
	return m, tx.AddEvent(store.Event{At: now, Kind: kind, Machine: m.ID, Detail: m.Endorsement})
}

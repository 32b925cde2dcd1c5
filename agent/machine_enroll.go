package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"runtime"
	"time"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// recordMachine is the kind of a record of the computer's own enrollment.
const recordMachine = "machine.enrolled"

// endorseWait bounds the making of a machine's key: a slow chip takes half a
// minute for an endorsement key of RSA.
const endorseWait = 3 * time.Minute

// tryToEnroll enrolls, or waits for as long as the failure is worth.
func (m *machine) tryToEnroll(ctx context.Context) {
	err := m.enroll(ctx)
	if err == nil {
		m.backoff.reset()
		return
	}
	if ctx.Err() != nil {
		return
	}
	if again, err := m.settle(err); err == nil && again {
		return
	}
	m.wait(ctx, m.setbackOf(err))
}

// settle does what a failure asks for: it forgets an enrollment that comes to
// nothing, and remembers a token that does. It reports whether to try again at
// once.
func (m *machine) settle(failure error) (again bool, err error) {
	p, refusedOnce := asProblem(failure)
	gone := errors.Is(failure, hsm.ErrForeignKey) || errors.Is(failure, hsm.ErrBadReference)
	if !gone && (!refusedOnce || !refused(failure)) {
		return false, nil
	}
	if _, told := errors.AsType[*knownRefusal](failure); told {
		return false, nil
	}
	if err := m.agent.cfg.State.DropMachineEnrollment(); err != nil {
		return false, storageError(err)
	}
	switch {
	case gone:
		return true, nil
	case m.fleet.Enroll == EnrollByToken && tokenRefused(p.Code):
		return false, m.remember(p)
	case p.Code == protocol.ProblemMachineUnknown:
		// The administrator may have registered another key of this chip.
		m.mu.Lock()
		defer m.mu.Unlock()
		m.choice++
		return m.choice < len(m.eks), nil
	}
	return false, nil
}

// knownRefusal is a token that the server has refused before: only another one is
// worth a call.
type knownRefusal struct{ *protocol.Problem }

func (k *knownRefusal) Unwrap() error { return k.Problem }

// remember keeps what the server said of the token.
func (m *machine) remember(p *protocol.Problem) error {
	token, err := m.token()
	if err != nil {
		return err
	}
	defer token.Wipe()
	return storageError(m.agent.cfg.State.SaveMachineRefusal(&state.MachineRefusal{
		Server: m.fleet.Server, Token: tokenHash(token), Code: p.Code, Detail: p.Error(), At: time.Now().UTC(),
	}))
}

func tokenHash(token secret.Value) []byte {
	sum := sha256.Sum256(token.Reveal())
	return sum[:]
}

// token is what lets the computer in; empty where it enrolls by its endorsement
// key.
func (m *machine) token() (secret.Value, error) {
	if m.fleet.Enroll != EnrollByToken || m.fleet.Token == nil {
		return secret.Value{}, nil
	}
	return m.fleet.Token()
}

// usableToken is the token, unless there is none or the server has refused it.
func (m *machine) usableToken() (secret.Value, error) {
	token, err := m.token()
	if err != nil {
		m.agent.cfg.Log.Warn("the enrollment token cannot be read", "error", err)
	}
	if m.fleet.Enroll != EnrollByToken {
		return token, nil
	}
	if err != nil || token.Empty() {
		return token, errNoToken
	}
	old, err := m.agent.cfg.State.MachineRefusal()
	if err != nil {
		m.agent.cfg.Log.Warn("what the server refused cannot be read", "error", err)
	}
	if old != nil && old.Server == m.fleet.Server && bytes.Equal(old.Token, tokenHash(token)) {
		token.Wipe()
		return token, &knownRefusal{&protocol.Problem{Title: old.Detail, Status: 409, Code: old.Code}}
	}
	return token, nil
}

// errNoToken is told like a token that was refused: it takes another.
var errNoToken = errors.New("there is no enrollment token")

// enroll does what is left of the steps. Whatever a step brings is durable before
// the next, and each may be repeated.
func (m *machine) enroll(ctx context.Context) error {
	token, err := m.usableToken()
	if err != nil {
		return err
	}
	defer token.Wipe()
	m.stand(machineStanding{ipc.MachineEnrolling, ipc.CheckWarn, "this computer enrolls at " + m.host(), "wait: it goes on by itself"})
	e, err := m.begun(ctx)
	if err != nil {
		return err
	}
	client := m.agent.cfg.Network.ForEnrollment(m.fleet.Server, m.fleet.CA)
	defer client.Close()
	if err := m.begin(ctx, client, e, token); err != nil {
		return err
	}
	if err := m.prove(ctx, e); err != nil {
		return err
	}
	done, err := client.ActivateMachine(ctx, e.Started.ID, *e.Proof)
	if err != nil {
		return err
	}
	return m.adopt(e, done, client.Root())
}

// begun is the enrollment under way, or a new one with a key of its own.
func (m *machine) begun(ctx context.Context) (*state.MachineEnrollment, error) {
	e, err := m.agent.cfg.State.MachineEnrollment()
	if err != nil {
		m.agent.cfg.Log.Error("the machine's unfinished enrollment cannot be read", "error", err)
		e = nil
	}
	if e != nil && m.belongs(e.Server, e.CA) {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(ctx, endorseWait)
	defer cancel()
	if e, err = m.makeKey(ctx); err != nil {
		return nil, onChip(kindTPM, err)
	}
	return e, storageError(m.agent.cfg.State.SaveMachineEnrollment(e))
}

// makeKey makes the machine's key. It is a blob that the chip gives out, so that
// nothing of it stays there whatever becomes of the enrollment.
func (m *machine) makeKey(ctx context.Context) (*state.MachineEnrollment, error) {
	p := m.tpm()
	endorser, ok := p.(hsm.Endorser)
	if !ok {
		_, err := p.Status(ctx)
		return nil, errors.Join(hsm.ErrUnavailable, err)
	}
	by, err := m.endorsement(ctx, endorser)
	if err != nil {
		return nil, err
	}
	chip, err := chipOf(ctx, p)
	if err != nil {
		return nil, err
	}
	key, err := p.Create(ctx, hsm.Template{})
	if err != nil {
		return nil, err
	}
	e := &state.MachineEnrollment{Server: m.fleet.Server, CA: m.fleet.CA, Key: state.MachineKey{
		KeyFacts: state.KeyFacts{Provider: p.Name(), Chip: chip}, Reference: key.Reference(),
	}}
	if e.Claim, err = endorser.ClaimBy(ctx, []hsm.Key{key}, by); err != nil {
		return nil, err
	}
	e.Start = protocol.MachineStart{EK: e.Claim.EK, AK: e.Claim.AK, Machine: m.facts(chip)}
	if len(e.Claim.Endorsement) > 0 {
		e.Start.EKChain = blobs(e.Claim.Endorsement)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "countersign machine"}}
	e.Start.CSR, err = x509.CreateCertificateRequest(rand.Reader, template, hsm.Signer(ctx, key, hsm.Auth{}))
	return e, err
}

// endorsement is the endorsement key to enroll by.
func (m *machine) endorsement(ctx context.Context, p hsm.Endorser) (hsm.Endorsement, error) {
	list, err := p.Endorsements(ctx)
	if err != nil {
		return hsm.Endorsement{}, err
	}
	if len(list) == 0 {
		return hsm.Endorsement{}, hsm.ErrNoAttestation
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = protocol.EKName(e.Key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eks = names
	m.choice %= len(list)
	return list[m.choice], nil
}

// facts are what the server is told about this computer. A name that cannot be
// shown is none.
func (m *machine) facts(chip state.Chip) protocol.MachineFacts {
	f := protocol.MachineFacts{
		Name: m.fleet.Name, Platform: runtime.GOOS + "/" + runtime.GOARCH, Agent: m.agent.cfg.Version,
		Chip: protocol.Chip{Vendor: chip.Vendor, Model: chip.Model, Firmware: chip.Firmware},
	}
	if f.Name == "" {
		f.Name, _ = os.Hostname()
	}
	if f.Name == "" || f.Validate() != nil {
		f.Name = "computer"
	}
	return f
}

// begin does the first step.
func (m *machine) begin(ctx context.Context, client *upstream.Client, e *state.MachineEnrollment, token secret.Value) error {
	if e.Started != nil {
		return nil
	}
	body := e.Start
	body.Token = string(token.Reveal())
	started, err := client.StartMachine(ctx, body)
	if err != nil {
		return err
	}
	if !validID(started.ID) {
		return errBadAnswer
	}
	e.Started = &started
	return storageError(m.agent.cfg.State.SaveMachineEnrollment(e))
}

// prove has the chip answer the server's challenge, durably, once.
func (m *machine) prove(ctx context.Context, e *state.MachineEnrollment) error {
	if e.Proof != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, endorseWait)
	defer cancel()
	proof, err := m.answer(ctx, e)
	if err != nil {
		return errors.Join(onChip(kindTPM, err), m.doubt(e, err))
	}
	e.Proof = proof
	return storageError(m.agent.cfg.State.SaveMachineEnrollment(e))
}

// doubt forgets a challenge that the chip cannot answer, and not only not now: whoever
// gave it may have stood in the server's place. The server gives its own again.
func (m *machine) doubt(e *state.MachineEnrollment, failure error) error {
	if errors.Is(failure, hsm.ErrUnavailable) || errors.Is(failure, context.DeadlineExceeded) || errors.Is(failure, context.Canceled) {
		return nil
	}
	e.Started = nil
	return storageError(m.agent.cfg.State.SaveMachineEnrollment(e))
}

func (m *machine) answer(ctx context.Context, e *state.MachineEnrollment) (*protocol.MachineActivation, error) {
	p := m.tpm()
	key, err := p.Open(ctx, e.Key.Reference)
	if err != nil {
		return nil, err
	}
	attester, ok := p.(hsm.Attester)
	if !ok {
		return nil, hsm.ErrUnavailable
	}
	challenge := hsm.Challenge{Nonce: e.Started.Challenge, Credential: e.Started.Credential.Blob, Secret: e.Started.Credential.Secret}
	proof, err := attester.Prove(ctx, e.Claim, challenge, []hsm.Key{key}, hsm.Auth{})
	if err != nil {
		return nil, err
	}
	if len(proof.Keys) != 1 {
		return nil, errOddProof
	}
	return &protocol.MachineActivation{Secret: proof.Secret, Key: *tpmKey(proof.Keys[0])}, nil
}

// adopt makes an enrollment the machine's, durably.
func (m *machine) adopt(e *state.MachineEnrollment, done protocol.MachineEnrolled, root []byte) error {
	if err := certifies(unblob(done.Chain), e.Start.CSR, protocol.RoleMachine); err != nil {
		return err
	}
	if _, err := protocol.ParseJWKS(done.JWKS); err != nil {
		return err
	}
	if !validID(done.Machine) || !protocol.ValidIssuer(done.Issuer) || !protocol.ValidIssuer(done.DeviceURL) {
		return errBadAnswer
	}
	s := &state.Machine{
		ID: done.Machine, Server: m.fleet.Server, CA: m.fleet.CA, Issuer: done.Issuer, DeviceURL: done.DeviceURL, Root: root, JWKS: done.JWKS,
		EK: protocol.EKName(e.Start.EK), Endorsement: done.Endorsement, Key: e.Key, Chain: unblob(done.Chain), EnrolledAt: time.Now().UTC(),
	}
	if err := m.agent.cfg.State.SaveMachine(s); err != nil {
		return storageError(err)
	}
	m.mu.Lock()
	m.enrolled = s
	m.mu.Unlock()
	m.stand(m.well())
	m.agent.note(audit.Event{Kind: recordMachine, Detail: map[string]string{"machine": s.ID, "server": s.Issuer, "endorsement": s.Endorsement}})
	return nil
}

// well is how an enrolled machine stands whose server was reached.
func (m *machine) well() machineStanding {
	s := m.stored()
	vouched := map[string]string{
		protocol.EndorsedByMaker:    "its TPM is certified by its maker",
		protocol.EndorsedByOperator: "its TPM is registered by the administrator",
	}[s.Endorsement]
	if vouched == "" {
		vouched = "nobody vouches for its TPM"
	}
	return machineStanding{ipc.MachineEnrolled, ipc.CheckOK, "this computer is enrolled at " + m.host() + " as " + s.ID + ", " + vouched, ""}
}

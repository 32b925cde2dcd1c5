package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"reflect"
	"time"

	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

const (
	// reportEvery is how often a machine reports whatever happens, give or take a
	// tenth, and machineLook how often it looks whether there is news.
	reportEvery = 6 * time.Hour
	machineLook = 10 * time.Minute
	// reportSettle is how long it waits for more news before it tells.
	reportSettle = 5 * time.Second
)

// work reports and keeps the certificate fresh, until ctx ends or the enrollment
// is over.
func (m *machine) work(ctx context.Context) {
	if err := m.agent.cfg.State.DropMachineEnrollment(); err != nil { // a crash may have left it
		m.agent.cfg.Log.Warn("what a crash left of the machine's enrollment is not removed", "error", err)
	}
	s := m.stored()
	key, err := newLazyKey(m.tpm(), s.Key.KeyFacts, s.Key.Reference, s.Chain)
	var client *upstream.Client
	if err == nil {
		client, err = m.agent.cfg.Network.ForDevice(upstream.Server{URLs: s.URLs(), Roots: s.Roots()}, m.certificate(ctx, key))
	}
	if err != nil {
		m.agent.cfg.Log.Error("the machine's enrollment cannot be used", "error", err)
		m.leave()
		return
	}
	defer client.Close()
	_, kept := s.ServerName()
	client.Keep(kept)
	m.next = time.Time{}
	for ctx.Err() == nil && m.stored() != nil {
		m.rest(ctx, m.turn(ctx, client, key))
	}
}

func (m *machine) certificate(ctx context.Context, key *lazyKey) tls.Certificate {
	return tls.Certificate{Certificate: m.stored().Chain, PrivateKey: hsm.Signer(ctx, key, hsm.Auth{})}
}

// rest waits, and a little while longer where it is woken: one thing that changes
// seldom comes alone.
func (m *machine) rest(ctx context.Context, pause time.Duration) {
	if m.stored() == nil {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-m.poked:
		_ = upstream.Sleep(ctx, min(pause, reportSettle))
	}
}

// turn does what is due, and returns how long to wait for the next.
func (m *machine) turn(ctx context.Context, client *upstream.Client, key *lazyKey) time.Duration {
	m.diagnosis = diagnosis{}
	err := m.duties(ctx, client, key)
	if upstream.Distrusted(err) && m.askAnybody(ctx, client) {
		err = m.duties(ctx, client, key)
	}
	switch problem, final := upstream.Final(err); {
	case err == nil:
		m.backoff.reset()
		return machineLook
	case ctx.Err() != nil:
		return 0
	case final:
		m.agent.cfg.Log.Warn("the server ended the machine's enrollment", "reason", problem.Error())
		m.stand(m.refusal(problem).machineStanding)
		m.leave()
		return 0
	case errors.Is(err, hsm.ErrForeignKey):
		m.agent.cfg.Log.Warn("the machine's key is not in this TPM: it enrolls again", "error", err)
		m.leave()
		return 0
	}
	p, refusedOnce := asProblem(err)
	m.late = m.late || refusedOnce && p.Code == protocol.ProblemCertExpired
	if refusedOnce && p.Code == protocol.ProblemUnauthorized && m.backoff.step >= longestPause {
		// It was enrolled there, and the server has not known it for hours: it was
		// set back, or set up anew.
		m.agent.cfg.Log.Warn("the server does not know this machine any more: it enrolls again")
		m.leave()
		return 0
	}
	s := m.setbackOf(err)
	if s.state == ipc.MachineNoNetwork || s.state == ipc.MachineNoServer {
		s.state = ipc.MachineEnrolled // and stays so
		s.detail = "this computer is enrolled, and " + s.detail
	}
	m.stand(s.machineStanding)
	return m.backoff.pause(s.most)
}

// leave forgets the enrollment: its key is good for nothing any more.
func (m *machine) leave() {
	if err := m.agent.cfg.State.DropMachine(); err != nil {
		m.agent.cfg.Log.Error("the machine's enrollment is not removed", "error", err)
	}
	m.mu.Lock()
	m.enrolled = nil
	m.mu.Unlock()
}

// duties are done in this order. The key is looked for first, since of a handshake
// that it did not sign nobody learns why.
func (m *machine) duties(ctx context.Context, client *upstream.Client, key *lazyKey) error {
	if err := m.find(ctx, key); err != nil {
		return err
	}
	if err := m.renew(ctx, client, key); err != nil {
		return err
	}
	if err := m.tell(ctx, client); err != nil {
		return err
	}
	m.listen(ctx, client)
	return nil
}

func (m *machine) find(ctx context.Context, key *lazyKey) error {
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	_, err := key.probe(ctx)
	return err
}

// renew gets another certificate of the same key, once less than a third of the
// lifetime is left. It cannot come too late: the server takes one that has expired
// for this. What is lost on the way is asked for again.
func (m *machine) renew(ctx context.Context, client *upstream.Client, key *lazyKey) error {
	if !m.late && time.Now().Before(validityOf(m.stored().Chain).due(m.chance)) {
		return nil
	}
	fresh, err := client.CertifyMachine(ctx)
	if err != nil {
		return err
	}
	s := *m.stored()
	s.Chain = unblob(fresh.Chain)
	if again, err := newLazyKey(key.provider, key.facts, key.reference, s.Chain); err != nil || !sameKey(again, key) {
		return errBadAnswer
	}
	if err := m.agent.cfg.State.SaveMachine(&s); err != nil {
		return storageError(err)
	}
	m.mu.Lock()
	m.enrolled = &s
	m.mu.Unlock()
	m.late = false
	client.Authenticate(m.certificate(ctx, key))
	m.agent.cfg.Log.Info("the machine's certificate is renewed", "until", validityOf(s.Chain).until)
	return nil
}

func sameKey(a, b *lazyKey) bool {
	x, err1 := protocol.Thumbprint(a.Public())
	y, err2 := protocol.Thumbprint(b.Public())
	return err1 == nil && err2 == nil && x == y
}

// tell reports where it is time, something has changed, or the server was not reached
// last time.
func (m *machine) tell(ctx context.Context, client *upstream.Client) error {
	due := !time.Now().Before(m.next) || !m.isWell()
	if !m.fleet.Report {
		if !due {
			return nil
		}
		if _, err := client.MachineState(ctx); err != nil {
			return err
		}
		m.told(nil)
		return nil
	}
	report := m.agent.machineReport(ctx)
	if !due && !news(m.sent, report) {
		return nil
	}
	if err := client.ReportMachine(ctx, report); err != nil {
		return err
	}
	m.told(&report)
	return nil
}

// told remembers that the server knows how the machine stands.
func (m *machine) told(report *protocol.MachineReport) {
	m.sent = report
	now := time.Now()
	m.next = now.Add(reportEvery - reportEvery/10 + rand.N(reportEvery/5)).Round(0) //nolint:gosec // jitter, not a secret
	m.stand(m.well())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reported = now
}

// news reports whether a report says more than that time has passed.
func news(last *protocol.MachineReport, now protocol.MachineReport) bool {
	if last == nil {
		return true
	}
	was := *last
	was.Counts.Decisions = now.Counts.Decisions
	return !reflect.DeepEqual(was, now)
}

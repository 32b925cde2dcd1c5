package agent

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// Ways in which a computer enrolls by itself.
const (
	EnrollByToken = "token"
	EnrollByEK    = "ek"
)

// Fleet is what this computer belongs to. The zero Fleet is none.
type Fleet struct {
	// Server is the device URL, and CA the SHA-256 of the only TLS root to trust
	// there; empty means the system's roots.
	Server string
	CA     []byte
	// Enroll is EnrollByToken or EnrollByEK; "" leaves the computer by itself, and
	// only leads its users.
	Enroll string
	// Token reads the token anew; it is empty where there is none yet.
	Token func() (secret.Value, error)
	// EnrollURL is the page on which users get their enrollment links, or "".
	EnrollURL string
	// Report hands in how the computer stands.
	Report bool
	// Name is what the server shows for this computer; "" is the host's name.
	Name string
	// Spread is the time over which computers that start at once spread their first
	// call.
	Spread time.Duration
	// Policy names the policy that is in force here, or is "".
	Policy string
}

// machine is the computer's own enrollment at work: it enrolls, reports, and never
// needs a person. It has one key, which signs TLS handshakes and nothing else.
type machine struct {
	agent *Agent
	fleet Fleet
	// poked wakes the worker, since something may have changed.
	poked   chan struct{}
	backoff slowly
	// chance spreads what all computers of a fleet would do at once.
	chance float64
	// choice is which of the chip's endorsement keys to enroll by.
	choice int
	// late says that the server's clock has ended the certificate.
	late bool
	// diagnosis is what was found out when the server was not reached last.
	diagnosis diagnosis
	// next is when a report is due, and sent the last one that arrived.
	next time.Time
	sent *protocol.MachineReport

	mu       sync.Mutex // guards what follows; held for field access only
	standing machineStanding
	enrolled *state.Machine
	reported time.Time
	eks      []string
}

// machineStanding is how the machine stands, in one of ipc's words and in words
// for people.
type machineStanding struct{ state, status, detail, cure string }

func newMachine(a *Agent, f Fleet) *machine {
	m := &machine{agent: a, fleet: f, poked: make(chan struct{}, 1), chance: rand.Float64()} //nolint:gosec // jitter, not a secret
	m.standing = machineStanding{ipc.MachineEnrolling, ipc.CheckWarn, "this computer has not begun to enroll yet", "wait: it goes on by itself"}
	if !m.enrolls() {
		return m
	}
	stored, err := a.cfg.State.Machine()
	if err != nil {
		// Nothing in it is worth more than what enrolling again brings.
		a.cfg.Log.Error("the machine's enrollment cannot be read", "error", err)
	}
	if stored != nil && m.belongs(stored.Server, stored.CA) {
		m.enrolled = stored
		m.standing = machineStanding{ipc.MachineEnrolled, ipc.CheckWarn, "this computer is enrolled at " + m.host() + " and has not reached it yet", "check the network, and that the server runs"}
	}
	return m
}

// enrolls reports whether the computer is to enroll by itself.
func (m *machine) enrolls() bool { return m.fleet.Enroll != "" }

// belongs reports whether an enrollment is the one that is configured.
func (m *machine) belongs(server string, ca []byte) bool {
	return server == m.fleet.Server && bytes.Equal(ca, m.fleet.CA)
}

// server is the server's device URL: as it is configured, until the server has said
// that it is somewhere else.
func (m *machine) server() string {
	if e := m.stored(); e != nil && e.Trust != nil {
		return e.URLs()[0]
	}
	return m.fleet.Server
}

// host is the server's, for people.
func (m *machine) host() string { return hostName(m.server()) }

func hostName(address string) string {
	if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return address
}

// poke has the worker look whether there is something to tell.
func (m *machine) poke() { poke(m.poked) }

// run works until ctx ends.
func (m *machine) run(ctx context.Context) {
	if !m.enrolls() {
		return
	}
	if m.fleet.Spread > 0 {
		_ = upstream.Sleep(ctx, rand.N(m.fleet.Spread)) //nolint:gosec // jitter, not a secret
	}
	for ctx.Err() == nil {
		if m.stored() == nil {
			m.tryToEnroll(ctx)
		} else {
			m.work(ctx)
		}
	}
}

func (m *machine) stored() *state.Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.enrolled
}

func (m *machine) stand(s machineStanding) {
	m.mu.Lock()
	was := m.standing
	m.standing = s
	m.mu.Unlock()
	if was.state != s.state {
		m.agent.cfg.Log.Info("the machine's enrollment", "state", s.state, "detail", s.detail)
	}
}

// isWell reports whether the server was reached when it was called last.
func (m *machine) isWell() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.standing.status == ipc.CheckOK
}

// slowly gives growing, jittered pauses up to what the cause is worth.
type slowly struct{ step time.Duration }

const firstSlowPause = 2 * time.Second

// pause is between half of the current step and all of it.
func (s *slowly) pause(most time.Duration) time.Duration {
	s.step = min(max(2*s.step, firstSlowPause), most)
	return s.step/2 + rand.N(s.step/2+1) //nolint:gosec // jitter, not a secret
}

func (s *slowly) reset() { s.step = 0 }

// The longest pauses. A server that is not reached is asked again soon, since that
// costs it nothing; one that said no is left alone.
const (
	longestPause  = time.Hour
	networkPause  = 10 * time.Minute
	chipPause     = 5 * time.Minute
	tokenLookTime = time.Minute
)

// setback is why something did not work now.
type setback struct {
	machineStanding
	// most is the longest pause that it is worth.
	most time.Duration
	// steady says that the pause is always that long.
	steady bool
}

// setbackOf puts an error into words.
func (m *machine) setbackOf(err error) setback {
	if p, ok := asProblem(err); ok {
		return m.refusal(p)
	}
	if e, ok := errors.AsType[*ipc.Error](err); ok && e.Code == ipc.CodeStorage {
		return setback{machineStanding{ipc.MachineNoDisk, ipc.CheckFail, e.Message, e.Cure}, chipPause, false}
	}
	if _, ok := errors.AsType[*chipFault](err); ok {
		return chipSetback(err)
	}
	if errors.Is(err, errNoToken) {
		s := machineStanding{ipc.MachineNoToken, ipc.CheckFail, "this computer is to enroll at " + m.host() + " with a token, and has none", tokenCure}
		return setback{s, tokenLookTime, true}
	}
	if errors.Is(err, upstream.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
		fault := faultOf(err, m.diagnosis)
		s := machineStanding{ipc.MachineNoNetwork, ipc.CheckWarn, m.host() + " is not reached: " + fault.Message, fault.Cure + "; the service goes on by itself"}
		return setback{s, networkPause, false}
	}
	m.agent.cfg.Log.Error("the machine's enrollment failed", "error", err)
	return setback{machineStanding{ipc.MachineRefused, ipc.CheckFail, "enrolling this computer failed", "see the log of countersignd"}, longestPause, false}
}

func chipSetback(err error) setback {
	e := chipError(err)
	if errors.Is(err, hsm.ErrNoAttestation) {
		cure := "clear the password of the TPM's endorsement hierarchy, or enable it in the firmware's setup; the service goes on by itself"
		return setback{machineStanding{ipc.MachineNoEK, ipc.CheckFail, "the TPM lets nobody use its endorsement key: " + reachText(err), cure}, longestPause, false}
	}
	return setback{machineStanding{ipc.MachineNoTPM, ipc.CheckFail, "this computer enrolls once its TPM works: " + e.Message, e.Cure}, chipPause, false}
}

// refusal is what a server's no means.
func (m *machine) refusal(p *protocol.Problem) setback {
	say := func(state, status, cure string, most time.Duration) setback {
		return setback{machineStanding{state, status, m.host() + " refused: " + p.Error(), cure}, most, false}
	}
	switch {
	case tokenRefused(p.Code):
		out := say(ipc.MachineTokenRefused, ipc.CheckFail, tokenCure, tokenLookTime)
		out.steady = true
		return out
	case p.Code == protocol.ProblemMachineUnknown:
		return say(ipc.MachineUnregistered, ipc.CheckFail, "on the server: countersign-server machine add --ek "+m.anEK()+"; the service goes on by itself", longestPause)
	case p.Code == protocol.ProblemMachineRevoked || p.Code == protocol.ProblemRevoked:
		return say(ipc.MachineRevoked, ipc.CheckFail, "if it is to come back, on the server: countersign-server machine add --ek "+m.anEK()+"; the service goes on by itself", longestPause)
	case p.Code == protocol.ProblemRateLimited || p.Status >= 500:
		return say(ipc.MachineNoServer, ipc.CheckWarn, "wait: the service goes on by itself", longestPause)
	}
	return say(ipc.MachineRefused, ipc.CheckFail, "ask the administrator of the server; the service goes on by itself", longestPause)
}

// tokenCure is how a computer gets a token: a credential is read when the service
// starts.
const tokenCure = "on the server: countersign-server machine token create; here put it into /etc/credstore/countersign.enrollment-token, and: systemctl restart countersignd"

// anEK names the endorsement key that this computer enrolls by.
func (m *machine) anEK() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.eks) == 0 {
		return "KEY"
	}
	return m.eks[m.choice%len(m.eks)]
}

// tokenRefused reports whether a token is good for nothing any more.
func tokenRefused(code string) bool {
	switch code {
	case protocol.ProblemTokenUnknown, protocol.ProblemTokenUsed, protocol.ProblemTokenExpired, protocol.ProblemTokenRevoked:
		return true
	}
	return false
}

// wait pauses after a setback, whoever pokes: what was refused is not asked for more
// often by what users do. A machine that waits for another token looks for it.
func (m *machine) wait(ctx context.Context, s setback) {
	m.stand(s.machineStanding)
	pause := s.most
	if !s.steady {
		pause = m.backoff.pause(s.most)
	}
	_ = upstream.Sleep(ctx, pause)
}

// tpm is the back end that keeps the machine's key.
func (m *machine) tpm() hsm.Provider { return m.agent.chips.named(kindTPM) }

// check is what doctor says of it; ok is false where the computer is to enroll
// nowhere. The names of endorsement keys are in it for whoever administers the
// computer.
func (m *machine) check(all bool) (c ipc.Check, ok bool) {
	if !m.enrolls() {
		return c, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c = ipc.Check{Code: checkMachine, Status: m.standing.status, Detail: m.standing.detail, Cure: m.standing.cure}
	if !all {
		c.Detail, c.Cure = m.nameless(c.Detail), m.nameless(c.Cure)
	}
	return c, true
}

// nameless is a text without the names of this computer's endorsement keys, which
// name the hardware for good. It expects mu held.
func (m *machine) nameless(text string) string {
	for _, ek := range m.eks {
		text = strings.ReplaceAll(text, ek, "KEY, which sudo countersign doctor names")
	}
	return text
}

// checkMachine is the code of doctor for it.
const checkMachine = "machine"

// trouble is why it does not work; "" where it does, or will by itself.
func (m *machine) trouble() string {
	if c, ok := m.check(false); ok && c.Status == ipc.CheckFail {
		return strings.TrimSuffix(c.Detail, ".")
	}
	return ""
}

// info is how it stands, for the local API. The names of endorsement keys are for
// whoever administers the computer.
func (m *machine) info(all bool) *ipc.Machine {
	if !m.enrolls() {
		return nil
	}
	server := m.server()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &ipc.Machine{Server: server, Enroll: m.fleet.Enroll, State: m.standing.state, Detail: m.nameless(m.standing.detail), ReportedAt: moment(m.reported)}
	if e := m.enrolled; e != nil {
		out.ID, out.Endorsement, out.EnrolledAt = e.ID, e.Endorsement, moment(e.EnrolledAt)
	}
	if all {
		out.Detail, out.EKs = m.standing.detail, m.eks
		if out.EKs == nil && m.enrolled != nil {
			out.EKs = []string{m.enrolled.EK}
		}
	}
	return out
}

// moment is a time, nil where there is none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

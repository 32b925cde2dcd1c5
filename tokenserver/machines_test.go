package tokenserver_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// machine plays the agent's part of a machine, with a real TPM.
type machine struct {
	*caller
	t        *testing.T
	srv      *servertest.Server
	chip     *tpm.Provider
	key      hsm.Key
	by       hsm.Endorsement
	claim    hsm.Claim
	enrolled protocol.MachineEnrolled
}

// newMachine makes a machine of the TPM at spec, by the first of its endorsement
// keys.
func newMachine(t *testing.T, s *servertest.Server, spec string) *machine {
	t.Helper()
	m := &machine{t: t, srv: s, caller: newCaller(t, s.DeviceURL(), &tls.Config{RootCAs: s.Roots(), Time: s.Now})}
	var err error
	if m.chip, err = tpm.Open(spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.chip.Close() })
	keys, err := m.chip.Endorsements(t.Context())
	if err != nil || len(keys) == 0 {
		t.Fatalf("endorsement keys: %v, %v", keys, err)
	}
	m.by = keys[0]
	m.anew()
	return m
}

// anew gives the machine a new key, as a system that was installed again has.
func (m *machine) anew() {
	m.t.Helper()
	var err error
	if m.key, err = m.chip.Create(m.t.Context(), hsm.Template{}); err != nil {
		m.t.Fatal(err)
	}
	if m.claim, err = m.chip.ClaimBy(m.t.Context(), []hsm.Key{m.key}, m.by); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) ek() string { return protocol.EKName(m.by.Key) }

func (m *machine) body(token string) protocol.MachineStart {
	m.t.Helper()
	out := protocol.MachineStart{
		Token:   token,
		Machine: protocol.MachineFacts{Name: "laptop", Platform: "linux/amd64", Agent: "test", Chip: protocol.Chip{Vendor: "SW"}},
		CSR:     csr(m.t, hsm.Signer(m.t.Context(), m.key, hsm.Auth{})), EK: m.claim.EK, AK: m.claim.AK,
	}
	for _, der := range m.claim.Endorsement {
		out.EKChain = append(out.EKChain, der)
	}
	return out
}

// begin does the first step.
func (m *machine) begin(token string) (started protocol.MachineStarted) {
	m.t.Helper()
	m.post(protocol.PathMachines, m.body(token)).want(m.t, http.StatusCreated).decode(m.t, &started)
	return started
}

// prove has the TPM answer the challenge.
func (m *machine) prove(started protocol.MachineStarted) protocol.MachineActivation {
	m.t.Helper()
	challenge := hsm.Challenge{Nonce: started.Challenge, Credential: started.Credential.Blob, Secret: started.Credential.Secret}
	proof, err := m.chip.Prove(m.t.Context(), m.claim, challenge, []hsm.Key{m.key}, hsm.Auth{})
	if err != nil {
		m.t.Fatal(err)
	}
	k := proof.Keys[0]
	return protocol.MachineActivation{Secret: proof.Secret, Key: protocol.TPM2Key{Public: k.Public, Creation: k.Creation, Attest: k.Attest, Signature: k.Signature}}
}

func (m *machine) activate(id string, a protocol.MachineActivation) answer {
	m.t.Helper()
	return m.post(protocol.PathMachines+"/"+id+"/activation", a)
}

// enroll does both steps, and shows the certificate from then on.
func (m *machine) enroll(token string) *machine {
	m.t.Helper()
	started := m.begin(token)
	m.activate(started.ID, m.prove(started)).want(m.t, http.StatusOK).decode(m.t, &m.enrolled)
	m.caller = m.withCertificate()
	return m
}

func (m *machine) withCertificate() *caller {
	var chain [][]byte
	for _, der := range m.enrolled.Chain {
		chain = append(chain, der)
	}
	return newCaller(m.t, m.srv.DeviceURL(), &tls.Config{
		RootCAs: m.srv.Roots(), Time: m.srv.Now,
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: hsm.Signer(m.t.Context(), m.key, hsm.Auth{})}},
	})
}

// line is the machine's in the operator's list.
func (m *machine) line() machines.Line {
	m.t.Helper()
	list, err := m.srv.Machines.Machines(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(l machines.Line) bool { return l.EK == m.ek() })
	if i < 0 {
		m.t.Fatalf("no machine has the key %s: %+v", m.ek(), list)
	}
	return list[i]
}

func register(t *testing.T, s *servertest.Server, ek string) {
	t.Helper()
	if err := s.Machines.Register(t.Context(), []store.RegisteredEK{{EK: ek}}); err != nil {
		t.Fatal(err)
	}
}

func report() protocol.MachineReport {
	return protocol.MachineReport{
		Agent: "v1", OS: "debian", OSVersion: "12", Kernel: "6.1.0", Chip: protocol.Chip{Vendor: "SW"},
		Checks: []protocol.MachineCheck{{Code: "tpm", Status: "ok"}, {Code: "clock", Status: "fail"}},
		Counts: protocol.MachineCounts{Users: 1, Active: 2}, Policy: protocol.MachinePolicy{Floor: "C2"},
	}
}

func TestMachineOfAKnownMaker(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	emulator, maker := testenv.StartManufacturedTPM(t)
	s.Trust((&attesttest.CA{Certificate: maker.Issuer}).PEM())
	s.AdmitMachines(machines.Policy{RequireAttested: true})
	token, id := s.MachineToken(2)
	m := newMachine(t, s, emulator.Spec())
	body := m.body(token)
	a := m.post(protocol.PathMachines, body).want(t, http.StatusCreated)
	if b := m.post(protocol.PathMachines, body).want(t, http.StatusCreated); !bytes.Equal(a.body, b.body) {
		t.Errorf("the same body is answered with %s and %s", a.body, b.body)
	}
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
	var started protocol.MachineStarted
	a.decode(t, &started)
	proof := m.prove(started)
	wrong := proof
	wrong.Secret = bytes.Repeat([]byte{1}, len(proof.Secret))
	m.activate(started.ID, wrong).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	first := m.activate(started.ID, proof).want(t, http.StatusOK)
	if again := m.activate(started.ID, proof).want(t, http.StatusOK); !bytes.Equal(first.body, again.body) {
		t.Error("the same proof is answered in another way")
	}
	m.activate(started.ID, wrong).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	first.decode(t, &m.enrolled)
	m.caller = m.withCertificate()

	var state protocol.MachineState
	m.get(protocol.PathMachine).want(t, http.StatusOK).decode(t, &state)
	if state.Machine != m.enrolled.Machine || state.Endorsement != protocol.EndorsedByMaker {
		t.Errorf("the machine is %+v", state)
	}
	m.put(protocol.PathMachineReport, report()).want(t, http.StatusNoContent)
	l := m.line()
	if l.State != store.MachineActive || l.Chip.Model != "swtpm" || l.Chip.Firmware == "" || l.Report == nil || l.Report.Checks[1].Code != "clock" || l.ReportedAt.IsZero() {
		t.Errorf("the operator reads %+v", l)
	}
	tokens, err := s.Machines.Tokens(t.Context())
	if err != nil || tokens[0].ID != id || tokens[0].Used != 1 {
		t.Errorf("the tokens are %+v, %v", tokens, err)
	}
	if strings.Contains(s.Log(), token) {
		t.Error("the token is in the log")
	}
}

// TestMachineOfNoMaker: a TPM for which nobody vouches comes in with a token, says
// so, and comes not where the operator wants more; a registered one does.
func TestMachineOfNoMaker(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	emulator := testenv.StartSWTPM(t)
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, emulator.Spec()).enroll(token)
	if m.enrolled.Endorsement != protocol.NotEndorsed || m.line().Chip.Vendor != "" {
		t.Errorf("enrolled as %+v, %+v", m.enrolled, m.line())
	}
	s.AdmitMachines(machines.Policy{RequireAttested: true})
	m.anew()
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
	register(t, s, m.ek())
	if m.enroll(""); m.enrolled.Endorsement != protocol.EndorsedByOperator {
		t.Errorf("enrolled as %+v", m.enrolled)
	}
	s.AdmitMachines(machines.Policy{Off: true})
	m.anew()
	m.post(protocol.PathMachines, m.body("")).refused(t, http.StatusForbidden, protocol.ProblemMachinesOff)
	m.get(protocol.PathMachine).want(t, http.StatusOK) // who is in stays in
}

func TestMachineByItsEndorsementKey(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	emulator := testenv.StartSWTPM(t)
	m := newMachine(t, s, emulator.Spec())
	m.post(protocol.PathMachines, m.body("")).refused(t, http.StatusForbidden, protocol.ProblemMachineUnknown)
	register(t, s, "sha256:"+strings.Repeat("ab", 32))
	m.post(protocol.PathMachines, m.body("")).refused(t, http.StatusForbidden, protocol.ProblemMachineUnknown)
	register(t, s, m.ek())
	if m.line().Came() {
		t.Errorf("a key that is waited for is %+v", m.line())
	}
	m.enroll("")
	if l := m.line(); !l.Came() || l.Registered == nil || l.Endorsement != protocol.EndorsedByOperator {
		t.Errorf("the machine is %+v", l)
	}
}

// TestOneMachineHasOneEntry: a computer that was installed anew is the same
// machine, its old key is over, and a token counts it once.
func TestOneMachineHasOneEntry(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(token)
	m.put(protocol.PathMachineReport, report()).want(t, http.StatusNoContent)
	old, id := m.caller, m.enrolled.Machine
	m.anew()
	m.caller = newCaller(t, s.DeviceURL(), &tls.Config{RootCAs: s.Roots(), Time: s.Now})
	m.enroll(token)
	if m.enrolled.Machine != id {
		t.Errorf("the machine was %s and is %s", id, m.enrolled.Machine)
	}
	old.get(protocol.PathMachine).refused(t, http.StatusGone, protocol.ProblemRevoked)
	old.put(protocol.PathMachineReport, report()).refused(t, http.StatusGone, protocol.ProblemRevoked)
	old.post(protocol.PathMachineCertificate, struct{}{}).refused(t, http.StatusGone, protocol.ProblemRevoked)
	m.get(protocol.PathMachine).want(t, http.StatusOK)
	if l := m.line(); l.Report != nil || !l.ReportedAt.IsZero() {
		t.Errorf("what the old system reported is said of the new one: %+v", l)
	}
	other := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	other.post(protocol.PathMachines, other.body(token)).refused(t, http.StatusConflict, protocol.ProblemTokenUsed)
	events, err := s.Office.Events(t.Context(), 0, 10)
	if err != nil || !slices.ContainsFunc(events, func(e store.Event) bool { return e.Kind == "machine.enrolled_again" && e.Machine == id }) {
		t.Errorf("events: %+v, %v", events, err)
	}
}

func TestRevokedMachineStaysOut(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, tokenID := s.MachineToken(5)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(token)
	if _, err := s.Machines.Revoke(t.Context(), m.enrolled.Machine); err != nil {
		t.Fatal(err)
	}
	for _, a := range []answer{m.get(protocol.PathMachine), m.put(protocol.PathMachineReport, report()), m.post(protocol.PathMachineCertificate, struct{}{})} {
		a.refused(t, http.StatusGone, protocol.ProblemRevoked)
	}
	m.anew()
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusForbidden, protocol.ProblemMachineRevoked)
	m.post(protocol.PathMachines, m.body("guess")).refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)
	register(t, s, m.ek())
	m.enroll("")
	if _, err := s.Machines.Revoke(t.Context(), m.ek()); err != nil {
		t.Fatal(err)
	}
	m.anew()
	m.post(protocol.PathMachines, m.body("")).refused(t, http.StatusForbidden, protocol.ProblemMachineUnknown)
	if _, err := s.Machines.RevokeToken(t.Context(), tokenID); err != nil {
		t.Fatal(err)
	}
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusGone, protocol.ProblemTokenRevoked)
}

// TestRevokedBetweenTheSteps: what happens between the two steps counts.
func TestRevokedBetweenTheSteps(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	token, id := s.MachineToken(1)
	started := m.begin(token)
	if _, err := s.Machines.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	m.activate(started.ID, m.prove(started)).refused(t, http.StatusGone, protocol.ProblemTokenRevoked)
	m.anew()
	token, _ = s.MachineToken(1)
	started = m.begin(token)
	proof := m.prove(started)
	s.Skip(2 * time.Hour)
	m.activate(started.ID, proof).refused(t, http.StatusGone, protocol.ProblemTokenExpired)
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusGone, protocol.ProblemTokenExpired)
}

// TestProofOfAnotherMachine: what one TPM proves is good for no other, and for its
// own challenge alone.
func TestProofOfAnotherMachine(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(5)
	a, b := newMachine(t, s, testenv.StartSWTPM(t).Spec()), newMachine(t, s, testenv.StartSWTPM(t).Spec())
	onA, onB := a.begin(token), b.begin(token)
	proofA, proofB := a.prove(onA), b.prove(onB)
	b.activate(onB.ID, proofA).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	mixed := proofB
	mixed.Key = proofA.Key
	b.activate(onB.ID, mixed).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)

	// A credential of another's is not opened, whoever asks.
	stolen := hsm.Challenge{Nonce: onA.Challenge, Credential: onA.Credential.Blob, Secret: onA.Credential.Secret}
	if _, err := b.chip.Prove(t.Context(), b.claim, stolen, []hsm.Key{b.key}, hsm.Auth{}); err == nil {
		t.Error("a TPM has opened the credential of another")
	}
	// Somebody else's endorsement key, with an attestation key of one's own.
	posing := b.body(token)
	posing.EK = a.claim.EK
	b.anew()
	posing.CSR = b.body(token).CSR
	var started protocol.MachineStarted
	b.post(protocol.PathMachines, posing).want(t, http.StatusCreated).decode(t, &started)
	b.activate(started.ID, proofB).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)

	// The first machine has lost its place to who took its name, not its right to
	// come back.
	a.anew()
	a.enroll(token)
	// A certificate that is another key's.
	emulator, maker := testenv.StartManufacturedTPM(t)
	s.Trust((&attesttest.CA{Certificate: maker.Issuer}).PEM())
	c := newMachine(t, s, emulator.Spec())
	posing = b.body(token)
	for _, der := range c.claim.Endorsement {
		posing.EKChain = append(posing.EKChain, der)
	}
	b.post(protocol.PathMachines, posing).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
}

// TestMachinesAreNoDevices: neither kind of certificate is good for the other's
// routes, nor is a relying party's word, nor none.
func TestMachinesAreNoDevices(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	stranger := m.caller
	m.enroll(token)
	d := enrollDevice(t, s, alice)
	for _, path := range []string{protocol.PathEnrollment, protocol.PathRequests, protocol.PathRequests + "/x", protocol.PathBlocks} {
		m.get(path).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	}
	for _, path := range []string{protocol.PathOTP, protocol.PathRenewals, protocol.PathRequests + "/x/decision", protocol.PathRenewals + "/x/activation"} {
		m.post(path, struct{}{}).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	}
	m.put(protocol.PathQuiet, protocol.Quiet{}).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	for _, c := range []*caller{d.caller, stranger} {
		c.get(protocol.PathMachine).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
		c.put(protocol.PathMachineReport, report()).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
		c.post(protocol.PathMachineCertificate, struct{}{}).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	}
	// Nor does a device enroll with a machine's token, or the key of one.
	d.start(token).refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)
	body := newDevice(t, s).startBody(tokenOf(s))
	body.DeviceCSR = csr(t, hsm.Signer(t.Context(), m.key, hsm.Auth{}))
	stranger.post(protocol.PathEnrollments, body).refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
}

func tokenOf(s *servertest.Server) string { return token(s.Invite(alice)) }

func TestMachineCertificateIsRenewedHoweverLate(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(token)
	was, err := x509.ParseCertificate(m.enrolled.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	s.Skip(3 * enroll.DefaultLifetime)
	m.get(protocol.PathMachine).refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
	var next protocol.MachineCertificate
	m.post(protocol.PathMachineCertificate, struct{}{}).want(t, http.StatusOK).decode(t, &next)
	is, err := x509.ParseCertificate(next.Chain[0])
	if err != nil || !is.NotAfter.After(was.NotAfter) || !bytes.Equal(is.RawSubjectPublicKeyInfo, was.RawSubjectPublicKeyInfo) {
		t.Fatalf("renewed as %v until %v", err, is.NotAfter)
	}
	m.enrolled.Chain = next.Chain
	m.caller = m.withCertificate()
	m.get(protocol.PathMachine).want(t, http.StatusOK)
}

func TestTokensAreNotGuessed(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	for i := range 20 {
		m.post(protocol.PathMachines, m.body(fmt.Sprint("guess", i))).refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)
	}
	a := m.post(protocol.PathMachines, m.body("guess"))
	a.refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
	if a.header.Get("Retry-After") == "" {
		t.Error("nobody is told when to come again")
	}
	// Who guesses locks nobody out who comes from the same address, as all do behind
	// one router: no number of guesses finds a token.
	m.enroll(token)
	s.Skip(time.Minute)
	m.anew()
	m.post(protocol.PathMachines, m.body("guess")).refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)
}

func TestReportsAreReadStrictly(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(token)
	good, err := json.Marshal(report())
	if err != nil {
		t.Fatal(err)
	}
	m.call(t.Context(), http.MethodPut, protocol.PathMachineReport, append(bytes.TrimSuffix(good, []byte("}")), `,"user":"alice"}`...)).
		refused(t, http.StatusUnprocessableEntity, protocol.CodeBadMessage)
	for range 6 {
		m.put(protocol.PathMachineReport, report())
	}
	m.put(protocol.PathMachineReport, report()).refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
}

// TestATokenCountsExactly: 200 machines prove themselves at once with a token for
// 100. They are one TPM with 200 endorsement seeds, one after the other, so that
// what happens at once is the second step, in which a use is counted.
func TestATokenCountsExactly(t *testing.T) {
	const all, uses = 200, 100
	s := servertest.Start(t, enroll.Policy{})
	token, id := s.MachineToken(uses)
	emulator := testenv.StartSWTPM(t)
	type ready struct {
		*machine
		id    string
		proof protocol.MachineActivation
	}
	var list []ready
	for range all {
		raw := emulator.Dial()
		raw.ChangeEPS()
		raw.Close()
		m := newMachine(t, s, emulator.Spec())
		m.caller = newCaller(t, s.DeviceURL(), &tls.Config{RootCAs: s.Roots(), Time: s.Now})
		started := m.begin(token)
		list = append(list, ready{m, started.ID, m.prove(started)})
		if err := m.chip.Close(); err != nil {
			t.Fatal(err)
		}
	}
	in, lost := race(all, func(i int) answer { return list[i].activate(list[i].id, list[i].proof) })
	for _, a := range lost {
		a.refused(t, http.StatusConflict, protocol.ProblemTokenUsed)
	}
	known, err := s.Machines.Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := s.Machines.Tokens(t.Context())
	if err != nil || in != uses || len(known) != uses || tokens[0].ID != id || tokens[0].Used != uses {
		t.Errorf("%d were let in, %d are known, %+v, %v", in, len(known), tokens, err)
	}
}

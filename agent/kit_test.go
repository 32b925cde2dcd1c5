package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

const (
	testPIN    = "493817"
	testIssuer = "https://server.example"
	testUID    = 1000
)

// kit is an agent with one profile, and the server's signing key.
type kit struct {
	t        *testing.T
	root     string
	dir      *state.Dir
	chip     *softProvider
	token    *softProvider // nil: the service runs without tokens
	log      *testenv.Log
	server   *ecdsa.PrivateKey
	device   *softKey
	approval *softKey
	id       string
	agent    *Agent
	profile  *profile
}

func newECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func jwks(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	keys, err := protocol.NewKeys(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	data, err := keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func selfSigned(t *testing.T, key *softKey) [][]byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "k"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key.key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{t: t, root: filepath.Join(t.TempDir(), "state"), chip: newSoftProvider(kindTPM), log: new(testenv.Log), server: newECDSA(t)}
	k.open()
	k.id = k.enroll("p_alice00", testUID, "https://127.0.0.1:1")
	k.start()
	return k
}

// enroll stores a profile and returns its id.
func (k *kit) enroll(id string, uid uint32, url string) string {
	k.t.Helper()
	device, err1 := k.chip.Create(k.t.Context(), hsm.Template{})
	approval, err2 := k.chip.Create(k.t.Context(), hsm.Template{Auth: hsm.Auth{PIN: secret.New([]byte(testPIN))}, PINBound: true})
	if err := errors.Join(err1, err2); err != nil {
		k.t.Fatal(err)
	}
	k.device, k.approval = device.(*softKey), approval.(*softKey)
	e := &state.Enrollment{UID: uid, Keys: state.Keys{Device: device.Reference(), Approval: approval.Reference()}}
	p := state.Profile{
		ID: id, Device: "d_device00", User: "user of " + id, Issuer: testIssuer, DeviceURL: url, UID: uid,
		DeviceChain: selfSigned(k.t, k.device), ApprovalChain: selfSigned(k.t, k.approval), JWKS: jwks(k.t, k.server),
		State: state.Active, EnrolledAt: time.Unix(int64(uid), 0), Keys: e.Keys,
		DeviceKey:   state.KeyFacts{Provider: kindTPM, Chip: softChip},
		ApprovalKey: state.KeyFacts{Provider: kindTPM, Counter: string(hsm.CounterIndex), Chip: softChip},
	}
	if err := errors.Join(k.dir.BeginEnrollment(e), k.dir.CompleteEnrollment(e, p)); err != nil {
		k.t.Fatal(err)
	}
	return id
}

func (k *kit) open() {
	k.t.Helper()
	var err error
	if k.dir, err = state.Open(k.root); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = k.dir.Close() })
}

// audit opens the audit log anew.
func (k *kit) audit() *audit.Log {
	k.t.Helper()
	l, err := audit.Open(filepath.Join(k.root, "audit"), audit.Clock{Wall: time.Now, Boot: BootTime})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (k *kit) providers() []hsm.Provider {
	if k.token == nil {
		return []hsm.Provider{k.chip}
	}
	return []hsm.Provider{k.chip, k.token}
}

func (k *kit) start() {
	k.t.Helper()
	var err error
	k.agent, err = New(Config{Version: "test", Mode: "user", State: k.dir, Providers: k.providers(), Audit: k.audit(), Log: slog.New(slog.NewTextHandler(k.log, nil)), TimeZone: "UTC"})
	if err != nil {
		k.t.Fatal(err)
	}
	k.profile, _ = k.agent.profile(k.id)
}

// restart is what a crash and the next start do.
func (k *kit) restart() {
	k.t.Helper()
	_ = k.dir.Close()
	k.open()
	k.start()
}

// request is a valid one of a class, for the kit's profile.
func (k *kit) request(id string, class protocol.Class) *protocol.Request {
	r := &protocol.Request{
		Issuer: testIssuer, Audience: "d_device00", Subject: k.id, ID: id, IssuedAt: 1000, ExpiresAt: 1300,
		Type: "login", Method: protocol.MethodPush, Class: class,
		Client: protocol.Client{ID: "bank", Name: "Bank"}, Message: "Pay",
	}
	if class > protocol.C0 {
		r.NumberMatch = &protocol.NumberMatch{Digits: 6}
	}
	return r
}

func (k *kit) sign(r *protocol.Request) string {
	k.t.Helper()
	compact, err := protocol.SignRequest(k.server, r)
	if err != nil {
		k.t.Fatal(err)
	}
	return compact
}

// list hands in what a poll sent now would bring.
func (k *kit) list(now int64, compact ...string) {
	k.t.Helper()
	k.profile.BeforeFetch()
	k.profile.Listed(k.t.Context(), protocol.Requests{Now: now, Requests: compact})
}

func scopeOf(uid uint32) ipc.Scope {
	return ipc.Scope{Peer: ipc.Peer{UID: uid, PID: int32(os.Getpid())}}
}

// answer is what a person who brings everything says of a request.
func (k *kit) answer(id, decision string) ipc.Answer {
	k.t.Helper()
	it, _, err := k.agent.pending.show(scopeOf(testUID), id)
	if err != nil {
		k.t.Fatal(err)
	}
	record, err := protocol.Display(it.req, protocol.DisplayVersion, language, "UTC")
	if err != nil {
		k.t.Fatal(err)
	}
	a := ipc.Answer{RequestHash: protocol.Hash([]byte(it.compact)), DisplayHash: record.Hash(), Decision: decision, Surface: protocol.SurfacePrompt}
	if decision == protocol.Approve {
		a.Number, a.PIN = "123456"[:it.req.Digits()], secret.New([]byte(testPIN))
	} else {
		a.Reason = protocol.ReasonCancelled
	}
	return a
}

// decide claims and commits, without waiting for a server.
func (k *kit) decide(id, decision string) (state.Entry, error) {
	k.t.Helper()
	it, claim, err := k.agent.pending.claim(scopeOf(testUID), id)
	if err != nil {
		return state.Entry{}, err
	}
	e, err := k.agent.commit(k.t.Context(), scopeOf(testUID), k.profile, it, k.answer(id, decision))
	if err != nil {
		k.agent.pending.settle(it, claim, statusPending)
		return e, err
	}
	k.agent.pending.settle(it, claim, statusUnconfirmed)
	return e, nil
}

// status is what "requests --all" shows of a request; "" where it does not.
func (k *kit) status(id string) string {
	for _, r := range k.agent.pending.list(scopeOf(testUID), true) {
		if r.ID == id {
			return r.Status
		}
	}
	return ""
}

func (k *kit) receipt(e state.Entry, change func(*protocol.Receipt)) string {
	k.t.Helper()
	r := &protocol.Receipt{
		Issuer: testIssuer, Audience: "d_device00", ID: e.ID, IssuedAt: 1001, Decision: protocol.Hash([]byte(e.Decision)),
		State: protocol.StateApproved, Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
	}
	if change != nil {
		change(r)
	}
	compact, err := protocol.SignReceipt(k.server, r)
	if err != nil {
		k.t.Fatal(err)
	}
	return compact
}

func (k *kit) rejection(e state.Entry, change func(*protocol.Rejection)) *protocol.Problem {
	k.t.Helper()
	r := &protocol.Rejection{
		Issuer: testIssuer, Audience: "d_device00", ID: e.ID, IssuedAt: 1001, Decision: protocol.Hash([]byte(e.Decision)),
		Code: protocol.ProblemWrongNumber, TriesLeft: 2, State: protocol.StatePending,
	}
	if change != nil {
		change(r)
	}
	compact, err := protocol.SignRejection(k.server, r)
	if err != nil {
		k.t.Fatal(err)
	}
	return &protocol.Problem{Status: 422, Code: protocol.ProblemWrongNumber, Rejection: compact}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*ipc.Error](err)
	if !ok {
		return "not an ipc.Error: " + err.Error()
	}
	return e.Code
}

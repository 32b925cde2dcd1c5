package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
	"countersign/tokenserver/store/sqlite"
)

// stage is an engine with a user's device, over a store and a clock in which
// things happen between one look and the next.
type stage struct {
	t         *testing.T
	engine    *engine.Engine
	authority *pki.Authority
	store     *afterView
	key       *ecdsa.PrivateKey
	thumb     string
	clock     func() time.Time
}

// afterView calls hook once, between a View and what its caller does next.
type afterView struct {
	store.Store
	hook func()
}

func (s *afterView) View(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.View(ctx, fn)
	if hook := s.hook; hook != nil {
		s.hook = nil
		hook()
	}
	return err
}

const issuer = "https://auth.example"

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	g := &stage{t: t, clock: time.Now}
	var err error
	if g.authority, err = pki.Open(dir); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, "server.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	g.store = &afterView{Store: st}
	if g.engine, err = engine.New(engine.Config{Store: g.store, Hub: fanout.New(), PKI: g.authority, Issuer: issuer, Now: func() time.Time { return g.clock() }}); err != nil {
		t.Fatal(err)
	}
	if g.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if g.thumb, err = protocol.Thumbprint(g.key.Public()); err != nil {
		t.Fatal(err)
	}
	chain, err := g.authority.IssueDevice("d_1", g.key.Public(), protocol.KeyInfo{Role: protocol.RoleDevice, Attestation: "none"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g.update(func(tx store.Tx) error { return tx.AddUser(store.User{Name: "alice"}) })
	g.update(func(tx store.Tx) error {
		return tx.AddClient(store.Client{ID: "c_1", Name: "Bank", SecretHash: []byte("h")})
	})
	g.update(func(tx store.Tx) error { return tx.AddToken(store.Token{Hash: []byte("h"), User: "alice"}) })
	g.update(func(tx store.Tx) error {
		return tx.PutType(store.Type{Name: "ping", Method: protocol.MethodPush, Class: protocol.C0, TTL: time.Second})
	})
	g.update(func(tx store.Tx) error {
		return tx.AddDevice(store.Device{
			ID: "d_1", Enrollment: "e_1", Profile: "p_1", User: "alice", TokenHash: []byte("h"), State: store.DeviceActive,
			Verdict: protocol.Verdict{Format: "none", Isolation: "user"}, DeviceVerdict: protocol.Verdict{Format: "none", Isolation: "user"},
			Challenge: []byte{1}, DeviceCSR: []byte{1}, ApprovalCSR: []byte{1},
			DeviceChain: chain, ApprovalChain: chain, DeviceKey: g.thumb, ApprovalKey: "none",
		})
	})
	return g
}

func (g *stage) update(fn func(store.Tx) error) {
	g.t.Helper()
	if err := g.store.Update(g.t.Context(), fn); err != nil {
		g.t.Fatal(err)
	}
}

func (g *stage) start() (*engine.Status, error) {
	return g.engine.Start(g.t.Context(), store.Client{ID: "c_1", Name: "Bank"}, engine.Start{Type: "ping", User: "alice", Message: "m"})
}

// approval is the device's answer to what it is asked.
func (g *stage) approval() (id, compact string) {
	g.t.Helper()
	pending, err := g.engine.Pending(g.t.Context(), g.thumb)
	if err != nil || len(pending) != 1 {
		g.t.Fatalf("asked %v, %v", pending, err)
	}
	keys, err := g.authority.IssuerKeys()
	if err != nil {
		g.t.Fatal(err)
	}
	r, err := protocol.ParseRequest(pending[0].Compact, keys)
	if err != nil {
		g.t.Fatal(err)
	}
	record, err := protocol.Display(r, protocol.DisplayVersion, "en", "UTC")
	if err != nil {
		g.t.Fatal(err)
	}
	compact, err = protocol.SignDecision(g.key, &protocol.Decision{
		Issuer: r.Audience, Audience: r.Issuer, Subject: r.Subject, ID: r.ID, IssuedAt: r.IssuedAt,
		Request: protocol.Hash([]byte(pending[0].Compact)), Display: record.Hash(), DisplayVersion: protocol.DisplayVersion,
		Language: "en", TimeZone: "UTC", Decision: protocol.Approve, Prev: protocol.NoPrev,
		UV: protocol.UV{Method: protocol.UVNone, Class: protocol.C0, Surface: protocol.SurfaceTTY},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return r.ID, compact
}

func TestStartSeesALockThatCameMeanwhile(t *testing.T) {
	g := newStage(t)
	if _, err := g.start(); err != nil {
		t.Fatal(err)
	}
	g.store.hook = func() { g.update(func(tx store.Tx) error { return tx.SetLocked("alice", true) }) }
	if _, err := g.start(); problem.From(err).Code != protocol.ProblemUserLocked {
		t.Errorf("a locked user is asked: %v", err)
	}
}

// TestEvidenceHoldsWhenTheClockLeaps has the machine sleep in the middle of a
// decision: the receipt must not be from after the end of what it confirms.
func TestEvidenceHoldsWhenTheClockLeaps(t *testing.T) {
	g := newStage(t)
	began := time.Now().Truncate(time.Second)
	g.clock = func() time.Time { return began }
	st, err := g.start()
	if err != nil {
		t.Fatal(err)
	}
	id, compact := g.approval()
	looks := 0
	g.clock = func() time.Time {
		looks++
		return began.Add(time.Duration(looks-1) * time.Minute)
	}
	a, err := g.engine.Decide(t.Context(), g.thumb, id, compact)
	if err != nil {
		t.Fatal(err)
	}
	if st, err = g.engine.Status(t.Context(), "c_1", st.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Evidence.Verify(nil); err != nil {
		t.Errorf("accepted with %s, and the evidence does not verify: %v", a.Body, err)
	}
}

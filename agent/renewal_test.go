package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
	"countersign/tokenserver/pki"
)

const newPIN = "271828"

// renewer is a server's side of a renewal, which can fail where it is told to.
type renewer struct {
	t   *testing.T
	k   *kit
	pki *pki.Authority

	mu sync.Mutex
	// fail answers a call whose path ends so.
	fail map[string]*protocol.Problem
	// forge has the server certify this key in place of the one it is asked for.
	forge *softKey
	calls []string
	start protocol.RenewalStart
}

// newRenewer connects the kit's profile to a new server, and has it deliver and
// renew until the test ends.
func newRenewer(t *testing.T, k *kit) *renewer {
	t.Helper()
	authority, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &renewer{t: t, k: k, pki: authority, fail: map[string]*protocol.Problem{}}
	srv := httptest.NewTLSServer(s)
	client, err := upstream.ForDevice(srv.URL, srv.Certificate().Raw, tls.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	p := k.profile
	work.Go(func() { p.deliver(ctx, client) })
	for _, slot := range p.slots() {
		work.Go(func() { p.settleRenewals(ctx, client, slot) })
	}
	k.profile.mu.Lock()
	k.profile.client = client
	k.profile.mu.Unlock()
	t.Cleanup(func() { cancel(); work.Wait(); client.Close(); srv.Close() })
	return s
}

func (s *renewer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// heard are the calls that were not told to fail.
func (s *renewer) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *renewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	step := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if p := s.fail[step]; p != nil {
		w.Header().Set("Content-Type", protocol.MediaTypeProblem)
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
		return
	}
	s.calls = append(s.calls, step)
	switch step {
	case "renewals":
		_ = json.Unmarshal(body, &s.start)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(protocol.RenewalStarted{ID: "r_12345678", Challenge: []byte("nonce")})
	case "activation":
		_ = json.NewEncoder(w).Encode(s.renewed())
	case "acknowledgement":
		w.WriteHeader(http.StatusNoContent)
	case "decision":
		entry := state.Entry{ID: strings.Split(r.URL.Path, "/")[4], Decision: string(body)}
		_ = json.NewEncoder(w).Encode(protocol.Accepted{Receipt: s.k.receipt(entry, nil)})
	}
}

// renewed expects s.mu held.
func (s *renewer) renewed() protocol.Renewed {
	key, err := pki.ParseCSR(s.start.CSR, s.start.Role)
	if s.forge != nil {
		key = s.forge.Public()
	}
	if err != nil {
		s.t.Error(err)
	}
	chain, err := s.pki.IssueDevice("d_device00", key, protocol.KeyInfo{Role: s.start.Role, Attestation: "none"}, time.Now(), time.Hour)
	if err != nil {
		s.t.Error(err)
	}
	return protocol.Renewed{Chain: blobs(chain), Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"}}
}

func (k *kit) changePIN(ctx context.Context, from, to string) (ipc.PINChanged, error) {
	return k.agent.changePIN(ctx, scopeOf(testUID), k.id, ipc.PINChange{Old: secret.New([]byte(from)), New: secret.New([]byte(to))})
}

func (k *kit) renewal() *state.Renewal {
	k.t.Helper()
	r, err := k.dir.Renewal(k.id, protocol.RoleApproval)
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

// onceRenewed ends when the profile's key is another.
func (k *kit) onceRenewed() context.Context {
	ctx, cancel := context.WithCancel(k.t.Context())
	before := k.profile.approval()
	go func() {
		defer cancel()
		testenv.Eventually(k.t, "the key to change", func() bool { return k.profile.approval() != before })
	}()
	return ctx
}

func (k *kit) reservations() []state.Reservation {
	k.t.Helper()
	list, err := k.dir.Reservations()
	if err != nil {
		k.t.Fatal(err)
	}
	return list
}

// TestOldKeyIsGivenUpAfterItsDecisions: what it signed is delivered before the
// server hears that it is good for nothing.
func TestOldKeyIsGivenUpAfterItsDecisions(t *testing.T) {
	k := newKit(t)
	s := newRenewer(t, k)
	s.set(func() { s.fail["decision"] = &protocol.Problem{Status: http.StatusServiceUnavailable} })
	k.list(1000, k.sign(k.request("by-old", protocol.C2)), k.sign(k.request("by-new", protocol.C2)))
	if _, err := k.decide("by-old", protocol.Approve); err != nil {
		t.Fatal(err)
	}
	out, err := k.changePIN(k.onceRenewed(), testPIN, newPIN)
	if err != nil || !out.NewKey || out.Settled {
		t.Fatalf("got %+v, %v", out, err)
	}
	if _, err := k.changePIN(t.Context(), newPIN, testPIN); codeOf(err) != ipc.CodeBusy {
		t.Errorf("another change meanwhile: %v", err)
	}
	if _, err := k.decide("by-new", protocol.Approve); codeOf(chipError(err)) != ipc.CodeWrongPIN {
		t.Errorf("the old PIN on the new key: %v", err)
	}
	if len(k.chip.held()) != 3 || k.renewal() == nil || slices.Contains(s.heard(), "acknowledgement") {
		t.Errorf("with a decision on its way the chip holds %v, the server heard %v", k.chip.held(), s.heard())
	}
	s.set(func() { delete(s.fail, "decision") })
	testenv.Eventually(t, "the end", func() bool { return k.renewal() == nil && !k.profile.approvalSlot.changing.Load() })
	if want := []string{"renewals", "activation", "decision", "acknowledgement"}; !slices.Equal(s.heard(), want) {
		t.Errorf("the server heard %v, want %v", s.heard(), want)
	}
	if held := k.chip.held(); len(held) != 2 || slices.Contains(held, k.approval.reference) || len(k.reservations()) != 0 {
		t.Errorf("the chip holds %v, reserved %v", held, k.reservations())
	}
	checkSuccession(t, k, s)
}

// checkSuccession: the old key has named the new one, for this profile.
func checkSuccession(t *testing.T, k *kit, s *renewer) {
	t.Helper()
	word, err := protocol.ParseSuccession(s.start.Succession, k.approval.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := protocol.Thumbprint(k.profile.approval().Public())
	if err != nil || word.Key != key || word.Issuer != "d_device00" || word.Audience != testIssuer || word.Subject != k.id {
		t.Errorf("the old key says %+v, %v", word, err)
	}
}

// TestFailedRenewalChangesNothing, wherever it fails.
func TestFailedRenewalChangesNothing(t *testing.T) {
	refusal := &protocol.Problem{Status: http.StatusUnprocessableEntity, Code: protocol.ProblemPolicy, Title: "Not allowed"}
	for name, c := range map[string]struct {
		spoil func(k *kit, s *renewer)
		from  string
		code  string
	}{
		"wrong PIN":          {func(*kit, *renewer) {}, "000000", ipc.CodeWrongPIN},
		"refused at first":   {func(_ *kit, s *renewer) { s.fail["renewals"] = refusal }, testPIN, protocol.ProblemPolicy},
		"refused at last":    {func(_ *kit, s *renewer) { s.fail["activation"] = refusal }, testPIN, protocol.ProblemPolicy},
		"another key's":      {func(k *kit, s *renewer) { s.forge = k.approval }, testPIN, ipc.CodeInternal},
		"a chip that is off": {func(k *kit, _ *renewer) { k.chip.set(func() { k.chip.err = hsm.ErrUnavailable }) }, testPIN, ipc.CodeChipUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			s := newRenewer(t, k)
			held, key := k.chip.held(), k.profile.approval()
			s.set(func() { c.spoil(k, s) })
			if _, err := k.changePIN(t.Context(), c.from, newPIN); codeOf(err) != c.code {
				t.Errorf("got %v", err)
			}
			if !slices.Equal(k.chip.held(), held) || k.profile.approval() != key || k.renewal() != nil {
				t.Errorf("the chip holds %v, before %v", k.chip.held(), held)
			}
			k.chip.set(func() { k.chip.err = nil })
			s.set(func() { s.fail, s.forge = map[string]*protocol.Problem{}, nil })
			if out, err := k.changePIN(t.Context(), testPIN, newPIN); err != nil || !out.Settled {
				t.Errorf("and then: %+v, %v", out, err)
			}
		})
	}
}

// TestRenewalEndsWithTheEnrollment: where the server has nobody left to hear
// from, the old key goes all the same.
func TestRenewalEndsWithTheEnrollment(t *testing.T) {
	k := newKit(t)
	s := newRenewer(t, k)
	s.set(func() {
		s.fail["acknowledgement"] = &protocol.Problem{Status: http.StatusGone, Code: protocol.ProblemRevoked}
	})
	if out, err := k.changePIN(t.Context(), testPIN, newPIN); err != nil || !out.Settled {
		t.Fatalf("got %+v, %v", out, err)
	}
	if held := k.chip.held(); len(held) != 2 || k.renewal() != nil {
		t.Errorf("the chip holds %v", held)
	}
}

// TestRenewalGoesOnAfterAStart, also of a profile that the server has ended.
func TestRenewalGoesOnAfterAStart(t *testing.T) {
	for _, revoked := range []bool{false, true} {
		k := newKit(t)
		s := newRenewer(t, k)
		s.set(func() { s.fail["acknowledgement"] = &protocol.Problem{Status: http.StatusServiceUnavailable} })
		if _, err := k.changePIN(k.onceRenewed(), testPIN, newPIN); err != nil {
			t.Fatal(err)
		}
		want := k.profile.get().Keys
		if revoked {
			k.profile.setState(state.Revoked, "over")
		}
		k.restart()
		if got := k.profile.get().Keys; string(got.Approval) != string(want.Approval) || !k.profile.approvalSlot.changing.Load() {
			t.Errorf("after a start the key is %s, want %s", got.Approval, want.Approval)
		}
		if _, err := k.changePIN(t.Context(), newPIN, testPIN); !revoked && codeOf(err) != ipc.CodeBusy {
			t.Errorf("another change: %v", err)
		}
		if revoked {
			k.profile.run(t.Context())
		} else {
			newRenewer(t, k)
		}
		testenv.Eventually(t, "the end", func() bool { return k.renewal() == nil })
		if held := k.chip.held(); len(held) != 2 || slices.Contains(held, k.approval.reference) {
			t.Errorf("the chip holds %v", held)
		}
	}
}

// TestOldKeyThatStaysIsALeftover: the renewal ends, and the sweeper goes on.
func TestOldKeyThatStaysIsALeftover(t *testing.T) {
	k := newKit(t)
	newRenewer(t, k)
	k.chip.set(func() { k.chip.demand = hsm.ErrNoMemory })
	if out, err := k.changePIN(t.Context(), testPIN, newPIN); err != nil || !out.Settled {
		t.Fatalf("got %+v, %v", out, err)
	}
	left := k.reservations()
	if len(left) != 1 || string(left[0].Key) != k.approval.reference {
		t.Fatalf("left over: %+v", left)
	}
	k.chip.set(func() { k.chip.demand = nil })
	k.agent.reserved.sweepOnce(t.Context())
	if held := k.chip.held(); len(held) != 2 || len(k.reservations()) != 0 {
		t.Errorf("the chip holds %v", held)
	}
}

// TestNewKeyIsWhatTheOldOneWas, but for its PIN.
func TestNewKeyIsWhatTheOldOneWas(t *testing.T) {
	k := newKit(t)
	newRenewer(t, k)
	k.profile.approval().facts.Touch = true
	before := k.profile.get()
	if _, err := k.changePIN(t.Context(), testPIN, newPIN); err != nil {
		t.Fatal(err)
	}
	asked := k.chip.asked[len(k.chip.asked)-1]
	if !asked.PINBound || !asked.Touch || asked.Algorithm != hsm.ES256 || asked.Reserve == nil {
		t.Errorf("the chip was asked for %+v", asked)
	}
	after := k.profile.get()
	leaf, err := x509.ParseCertificate(after.ApprovalChain[0])
	if err != nil {
		t.Fatal(err)
	}
	inCertificate, err1 := protocol.Thumbprint(leaf.PublicKey)
	inChip, err2 := protocol.Thumbprint(k.chip.keys[string(after.Keys.Approval)].Public())
	if err := errors.Join(err1, err2); err != nil || inCertificate != inChip {
		t.Errorf("the certificate is of another key: %v", err)
	}
	if after.ApprovalKey.Chip != before.ApprovalKey.Chip || !after.ApprovalKey.Touch || after.ID != before.ID || string(after.Keys.Device) != string(before.Keys.Device) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

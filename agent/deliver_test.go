package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/internal/testenv"
	"countersign/protocol"
)

func entryFor(id, decision string) state.Entry {
	return state.Entry{Seq: 1, ID: id, Decision: decision, Verb: protocol.Approve, State: state.Queued}
}

// TestJudge: "sent" is said on a receipt for this very decision and nothing
// less; what is no answer is asked for again.
func TestJudge(t *testing.T) {
	k := newKit(t)
	e, other := entryFor("tx", "decision"), entryFor("tx", "another decision")
	strange, err := protocol.SignReceipt(newECDSA(t), &protocol.Receipt{
		Issuer: testIssuer, Audience: "d_device00", ID: "tx", IssuedAt: 1001, Decision: protocol.Hash([]byte("decision")),
		State: protocol.StateApproved, Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
	})
	if err != nil {
		t.Fatal(err)
	}
	problem := func(status int, code string, st protocol.State) *protocol.Problem {
		return &protocol.Problem{Status: status, Code: code, State: st}
	}
	type verdict struct{ state, status, code string }
	again := verdict{state: state.Queued}
	for _, c := range []struct {
		name    string
		receipt string
		err     error
		want    verdict
	}{
		{"receipt", k.receipt(e, nil), nil, verdict{state.Delivered, "approved", ""}},
		{"receipt with another end", k.receipt(e, func(r *protocol.Receipt) { r.State = protocol.StateDenied }), nil, verdict{state.Delivered, "denied", ""}},
		{"receipt for another decision", k.receipt(other, nil), nil, again},
		{"receipt for another transaction", k.receipt(e, func(r *protocol.Receipt) { r.ID = "other" }), nil, again},
		{"receipt for another device", k.receipt(e, func(r *protocol.Receipt) { r.Audience = "d_other000" }), nil, again},
		{"receipt of another issuer", k.receipt(e, func(r *protocol.Receipt) { r.Issuer = "https://other.example" }), nil, again},
		{"receipt of another key", strange, nil, again},
		{"no receipt", "", nil, again},
		{"a request for a receipt", k.sign(k.request("tx", protocol.C1)), nil, again},
		{"rejection", "", k.rejection(e, nil), verdict{state.Refused, "pending", protocol.ProblemWrongNumber}},
		{"last rejection", "", k.rejection(e, func(r *protocol.Rejection) { r.TriesLeft, r.State = 0, protocol.StateFailed }), verdict{state.Refused, "failed", protocol.ProblemWrongNumber}},
		{"rejection of another decision", "", k.rejection(other, nil), again},
		{"rejection of another transaction", "", k.rejection(e, func(r *protocol.Rejection) { r.ID = "other" }), again},
		{"rejection for another device", "", k.rejection(e, func(r *protocol.Rejection) { r.Audience = "d_other000" }), again},
		{"rejection for another reason", "", k.rejection(e, func(r *protocol.Rejection) { r.Code = "too_late" }), again},
		{"rejection without a signature", "", &protocol.Problem{Status: 422, Code: protocol.ProblemWrongNumber}, again},
		{"decided already", "", problem(409, protocol.ProblemAlreadyDecided, protocol.StateDenied), verdict{state.Refused, "denied", protocol.ProblemAlreadyDecided}},
		{"another class", "", problem(403, protocol.ProblemRoleForbidden, ""), verdict{state.Refused, "pending", protocol.ProblemRoleForbidden}},
		{"a state of its own", "", problem(400, protocol.ProblemDecisionRefused, "unconfirmed"), verdict{state.Refused, "pending", protocol.ProblemDecisionRefused}},
		{"unconfirmed enrollment", "", problem(403, protocol.ProblemUnconfirmed, ""), again},
		{"certificate swallowed by a proxy", "", problem(401, protocol.ProblemUnauthorized, ""), again},
		{"too many", "", problem(429, "rate_limited", ""), again},
		{"server error", "", problem(500, protocol.ProblemInternal, ""), again},
		{"unavailable", "", problem(503, protocol.ProblemInternal, protocol.StateApproved), again},
		{"captive portal", "", upstream.ErrUnreachable, again},
	} {
		got, err := k.profile.judge(e, protocol.Accepted{Receipt: c.receipt}, c.err)
		if (verdict{got.State, got.Status, got.Code}) != c.want || (err != nil) != (c.want == again) {
			t.Errorf("%s: %s %q %s, %v", c.name, got.State, got.Status, got.Code, err)
		}
		if got.Decision != e.Decision {
			t.Errorf("%s: the decision changed", c.name)
		}
		r, err := result(got)
		if r.Confirmed != (c.want.state == state.Delivered) || c.want == again && (err != nil || r.Status != statusUnconfirmed) {
			t.Errorf("%s: the caller is told %+v, %v", c.name, r, err)
		}
	}
}

// flaky is a server that fails in all ways before it answers decisions.
type flaky struct {
	mu       sync.Mutex
	got      []string
	receipts map[string]string
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, string(body))
	switch len(f.got) {
	case 1:
		w.WriteHeader(http.StatusBadGateway)
	case 2:
		_, _ = io.WriteString(w, "<html>log in</html>")
	case 3:
		http.Error(w, "slow down", http.StatusTooManyRequests)
	default:
		_ = json.NewEncoder(w).Encode(protocol.Accepted{Receipt: f.receipts[string(body)]})
	}
}

// client is one of the flaky server.
func (f *flaky) client(t *testing.T) *upstream.Client {
	t.Helper()
	srv := httptest.NewTLSServer(f)
	t.Cleanup(srv.Close)
	client, err := upstream.ForDevice(srv.URL, srv.Certificate().Raw, tls.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestDeliverSendsTheSameBytes until there is an answer, in order, over a
// restart.
func TestDeliverSendsTheSameBytes(t *testing.T) {
	k := newKit(t)
	server := &flaky{receipts: map[string]string{}}
	var sent []string
	for _, id := range []string{"a", "b", "c"} {
		k.list(1000, k.sign(k.request(id, protocol.C1)))
		e, err := k.decide(id, protocol.Approve)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, e.Decision)
		server.receipts[e.Decision] = k.receipt(e, nil)
	}
	client := server.client(t)
	k.restart()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		k.profile.deliver(ctx, client)
	}()
	testenv.Eventually(t, "all to be delivered", func() bool { return k.status("c") == "approved" })
	cancel()
	<-over
	if want := []string{sent[0], sent[0], sent[0], sent[0], sent[1], sent[2]}; !slices.Equal(server.got, want) {
		t.Errorf("%d deliveries, or with other bytes, want %d", len(server.got), len(want))
	}
	entries, err := k.dir.Entries(k.id)
	for _, e := range entries {
		if err != nil || e.State != state.Delivered || e.Receipt == "" {
			t.Errorf("stored: %s, %v", e.State, err)
		}
	}
}

func TestToldKeepsTheCauseForTheLog(t *testing.T) {
	cause := errors.New("disk full")
	err := told(chipError(cause), cause)
	if codeOf(err) != "internal_error" || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"countersign/agent/upstream"
	"countersign/internal/testenv"
	"countersign/protocol"
)

// statement is the server's, signed with key, that names keys.
func statement(t *testing.T, key *ecdsa.PrivateKey, seq int64, change func(*protocol.Trust), keys ...*ecdsa.PrivateKey) []byte {
	t.Helper()
	s := &protocol.Trust{Issuer: testIssuer, IssuedAt: 1000, Seq: seq, DeviceURLs: []string{"https://127.0.0.1:1"}}
	set := protocol.Keys{}
	for _, k := range keys {
		kid, err := protocol.Thumbprint(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		set[kid] = k.Public()
	}
	var err error
	if s.Keys, err = protocol.NewTrustKeys(set); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	compact, err := protocol.SignTrust(key, s)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(protocol.TrustDocument{Statements: []string{compact}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// adopt has the profile judge a document.
func (k *kit) adopt(document []byte) error {
	k.t.Helper()
	client, err := upstream.ForDevice("https://127.0.0.1:1", nil, tls.Certificate{})
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	_, err = k.profile.adoptTrust(client, document)
	return err
}

// TestTrustStatementsAreJudged: only a newer one of this very server, signed with a
// key that is known at that moment, changes anything, and it does durably.
func TestTrustStatementsAreJudged(t *testing.T) {
	k := newKit(t)
	next, thief := newECDSA(t), newECDSA(t)
	moved := func(s *protocol.Trust) { s.Issuer, s.Former = "https://new.example", []string{testIssuer} }
	refused := func(when string, document []byte, code string) {
		t.Helper()
		before := k.profile.get()
		err := k.adopt(document)
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != code {
			t.Errorf("%s: %v", when, err)
		}
		if after := k.profile.get(); after.TrustSeq() != before.TrustSeq() || after.Issuer != before.Issuer {
			t.Errorf("%s: it has changed %+v", when, after)
		}
	}
	refused("a thief's key", statement(t, thief, 1, nil, thief), protocol.CodeUnknownKey)
	refused("a server of another name", statement(t, k.server, 1, func(s *protocol.Trust) { s.Issuer = "https://other.example" }, k.server), protocol.CodeMismatch)
	refused("a login page", []byte("<!doctype html>"), protocol.CodeBadMessage)
	if err := k.adopt(statement(t, k.server, 5, moved, k.server, next)); err != nil {
		t.Fatal(err)
	}
	if s := k.profile.get(); s.Issuer != "https://new.example" || s.TrustSeq() != 5 {
		t.Errorf("the server is %s by statement %d", s.Issuer, s.TrustSeq())
	}
	if err := k.adopt(statement(t, k.server, 5, nil, k.server)); err != nil {
		t.Errorf("the same number again: %v", err)
	}
	refused("an older one", statement(t, k.server, 4, nil, k.server), protocol.CodeMismatch)
	if err := k.adopt(statement(t, next, 6, moved, next)); err != nil {
		t.Fatalf("by the next key: %v", err)
	}
	refused("the key that is retired", statement(t, k.server, 7, moved, k.server), protocol.CodeUnknownKey)
	if !strings.Contains(k.log.String(), "https://new.example") {
		t.Error("it is not in the log")
	}
	k.restart()
	if s := k.profile.get(); s.TrustSeq() != 6 || s.Issuer != "https://new.example" {
		t.Errorf("after a restart the server is %s by statement %d", s.Issuer, s.TrustSeq())
	}
	refused("an older one after a restart", statement(t, next, 5, moved, next), protocol.CodeMismatch)
	refused("the retired key after a restart", statement(t, k.server, 8, moved, k.server), protocol.CodeUnknownKey)
	if past := k.profile.keysOfHistory(); len(past) != 2 {
		t.Errorf("%d keys for what was decided long ago", len(past))
	}
}

// TestRequestsOfEitherName: a request may be under way while the server moves, and the
// name of another server stays another's.
func TestRequestsOfEitherName(t *testing.T) {
	k := newKit(t)
	if err := k.adopt(statement(t, k.server, 1, func(s *protocol.Trust) { s.Issuer, s.Former = "https://new.example", []string{testIssuer} }, k.server)); err != nil {
		t.Fatal(err)
	}
	for issuer, want := range map[string]error{testIssuer: nil, "https://new.example": nil, "https://other.example": errNotForUs} {
		req := &protocol.Request{Issuer: issuer, Audience: "d_device00", Subject: k.id}
		if err := k.profile.addressed(req); !errors.Is(err, want) {
			t.Errorf("a request by %s: %v", issuer, err)
		}
	}
}

// TestUntrustedFetchTellsNothing: who answers with another's certificate sees one
// request for a public document, and neither the device's certificate nor any header
// of its own.
func TestUntrustedFetchTellsNothing(t *testing.T) {
	k := newKit(t)
	seen := make(chan *http.Request, 8)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		_, _ = w.Write([]byte("<html>log in first</html>"))
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	p := k.profile
	p.mu.Lock()
	p.stored.DeviceURL = srv.URL
	p.stored.Root = k.profile.stored.DeviceChain[0] // of anybody but the test server's
	p.mu.Unlock()
	client, err := p.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Keep(7)
	_, _, _, err = client.Fetch(t.Context(), "", 0)
	if !upstream.Distrusted(err) {
		t.Fatalf("another's certificate: %v", err)
	}
	p.mu.Lock()
	p.reach = err
	p.mu.Unlock()
	if err := p.learnTrust(t.Context(), client); err == nil {
		t.Error("a login page is taken for a statement")
	}
	r := <-seen
	if len(seen) != 0 || r.Method != http.MethodGet || r.URL.Path != protocol.PathTrust || len(r.TLS.PeerCertificates) != 0 ||
		r.Header.Get(protocol.HeaderTrust) != "" || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
		t.Errorf("told were %d more, and %s %s with %v, %d certificates", len(seen), r.Method, r.URL, r.Header, len(r.TLS.PeerCertificates))
	}
}

// TestStatementIsFetchedOnceAndWhenAnnounced: on the first answer, when the server
// announces another, and not in between.
func TestStatementIsFetchedOnceAndWhenAnnounced(t *testing.T) {
	k := newKit(t)
	fetched := make(chan string, 8)
	seq := make(chan int64, 1)
	seq <- 1
	srv := httptest.NewUnstartedServer(nil)
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := <-seq
		seq <- now
		w.Header().Set(protocol.HeaderTrust, string(rune('0'+now)))
		if r.URL.Path == protocol.PathTrust {
			fetched <- r.Header.Get(protocol.HeaderTrust)
			_, _ = w.Write(statement(k.t, k.server, now, func(s *protocol.Trust) {
				s.DeviceURLs, s.TLSRoots = []string{srv.URL}, []protocol.Blob{srv.Certificate().Raw}
			}, k.server))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	srv.StartTLS()
	defer srv.Close()
	client, err := upstream.ForDevice(srv.URL, srv.Certificate().Raw, tls.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go k.profile.keepTrust(ctx, client)
	poll := func() {
		t.Helper()
		_, _, _, err := client.Fetch(ctx, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		k.profile.mindTrust(client, err)
	}
	known := func(want int64) {
		t.Helper()
		<-fetched
		testenv.Eventually(t, "the statement to be kept", func() bool { return k.profile.get().TrustSeq() == want })
	}
	poll()
	known(1)
	for range 5 {
		poll()
	}
	<-seq
	seq <- 2
	poll()
	known(2)
	select {
	case <-fetched:
		t.Error("fetched with no reason")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestNoNameThatThePolicyForbids: a server cannot say that it was once another, which
// the policy does not allow, and ask in that one's name.
func TestNoNameThatThePolicyForbids(t *testing.T) {
	k := newKit(t)
	k.agent.cfg.Policy = only(t, "server.example", "127.0.0.1")
	was := func(s *protocol.Trust) { s.Former = []string{"https://bank.example"} }
	if err := k.adopt(statement(t, k.server, 1, was, k.server)); err != nil {
		t.Fatal(err)
	}
	for id, issuer := range map[string]string{"own": testIssuer, "other": "https://bank.example"} {
		req := k.request(id, protocol.C1)
		req.Issuer = issuer
		if _, ok := k.profile.receive(k.sign(req), 1000, BootTime()); ok != (id == "own") {
			t.Errorf("a request in the name of %s: taken in %v", issuer, ok)
		}
	}
}

// TestNoNameOfAnotherServer: a server cannot call itself, now or formerly, what the
// user knows another server by, whatever keys it lists; the same server can, at which
// two accounts are.
func TestNoNameOfAnotherServer(t *testing.T) {
	k := newKit(t)
	bank := newECDSA(t)
	k.enroll("p_second00", testUID, "https://127.0.0.1:1")
	k.restart()
	other, _ := k.agent.profile("p_second00")
	keys, err := protocol.NewKeys(bank.Public())
	if err != nil {
		t.Fatal(err)
	}
	is := func(uid uint32, keys protocol.Keys) {
		other.mu.Lock()
		defer other.mu.Unlock()
		other.stored.UID, other.stored.Issuer, other.keys = uid, "https://bank.example", keys
	}
	named := func(s *protocol.Trust) { s.Issuer, s.Former = "https://bank.example:8443", []string{testIssuer} }
	was := func(s *protocol.Trust) { s.Former = []string{"https://bank.example"} }
	own := k.profile.serverKeys()

	is(testUID, keys)
	for seq, change := range []func(*protocol.Trust){named, was} {
		if err := k.adopt(statement(t, k.server, int64(seq+1), change, k.server, bank)); err == nil || !strings.Contains(err.Error(), "https://bank.example") {
			t.Errorf("statement %d: %v", seq, err)
		}
	}
	is(testUID+1, keys)
	if err := k.adopt(statement(t, k.server, 3, was, k.server)); err != nil {
		t.Errorf("another user's server: %v", err)
	}
	is(testUID, own)
	if err := k.adopt(statement(t, k.server, 4, named, k.server)); err != nil {
		t.Errorf("another account at this server: %v", err)
	}
}

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"countersign/protocol"
)

// portal is a relying party.
type portal struct {
	tb         testing.TB
	server     *server
	id, secret string
	http       *http.Client
}

// transaction is what the server says of one.
type transaction struct {
	ID       string             `json:"id"`
	Status   string             `json:"status"`
	Reason   string             `json:"reason"`
	Number   string             `json:"number"`
	Code     string             `json:"code"`
	Evidence *protocol.Evidence `json:"evidence"`

	http int
	raw  []byte
}

func newPortal(tb testing.TB, s *server) *portal {
	tb.Helper()
	a := s.command("", "client", "add", "bank-"+filepath.Base(tb.TempDir()), "--json").ok(tb)
	p := &portal{tb: tb, server: s, id: a.text("client_id"), secret: a.text("client_secret")}
	p.trust()
	return p
}

// trust reads the server's ca.pem.
func (p *portal) trust() {
	p.tb.Helper()
	pool := x509.NewCertPool()
	for _, b := range readPEM(p.tb, p.server.ca()) {
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			p.tb.Fatal(err)
		}
		pool.AddCert(cert)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	if p.server.net != nil {
		transport.DialContext = p.server.net.Dial
	}
	p.http = &http.Client{Transport: transport}
}

func (p *portal) call(method, path, prefer string, body any) transaction {
	p.tb.Helper()
	t, err := p.try(p.tb.Context(), method, path, prefer, body)
	if err != nil {
		p.tb.Fatal(err)
	}
	return t
}

// try is call for where the server may be away.
func (p *portal) try(ctx context.Context, method, path, prefer string, body any) (t transaction, err error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return t, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.server.issuer+path, r)
	if err != nil {
		return t, err
	}
	req.SetBasicAuth(p.id, p.secret)
	req.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	t.http = resp.StatusCode
	if t.raw, err = io.ReadAll(resp.Body); err != nil {
		return t, err
	}
	_ = json.Unmarshal(t.raw, &t)
	return t, nil
}

// begin starts a transaction for alice.
func (p *portal) begin(kind string) transaction {
	p.tb.Helper()
	return p.beginFor("alice", kind)
}

func (p *portal) beginFor(user, kind string) transaction {
	p.tb.Helper()
	t := p.call("POST", "/v1/transactions", "", map[string]any{
		"type": kind, "user": user, "message": "Pay 12.50 EUR to Bob",
		"details": []map[string]string{{"label": "Account", "value": "NL00BANK0123456789"}},
	})
	if t.http != http.StatusCreated || t.ID == "" {
		p.tb.Fatalf("start: %d %s", t.http, t.raw)
	}
	return t
}

// get asks how a transaction stands, waiting for its end.
func (p *portal) get(id string) transaction {
	p.tb.Helper()
	t := p.call("GET", "/v1/transactions/"+id, "wait=10", nil)
	if t.http != http.StatusOK {
		p.tb.Fatalf("get: %d %s", t.http, t.raw)
	}
	return t
}

// ends waits for the end of a transaction, and demands that it is this one.
func (p *portal) ends(tx transaction, status string) transaction {
	p.tb.Helper()
	got := p.get(tx.ID)
	if got.Status != status {
		p.tb.Fatalf("the server says %s, want %s", got.raw, status)
	}
	return got
}

// now asks how it stands, without waiting.
func (p *portal) now(id string) transaction {
	p.tb.Helper()
	return p.call("GET", "/v1/transactions/"+id, "", nil)
}

// verified has the server's command verify a transaction's evidence offline.
func (p *portal) verified(t transaction) {
	p.tb.Helper()
	file := filepath.Join(p.tb.TempDir(), "evidence.json")
	if err := os.WriteFile(file, t.raw, 0o600); err != nil {
		p.tb.Fatal(err)
	}
	command(p.tb, "", "countersign-server", "evidence", "verify", file, "--ca", p.server.ca()).ok(p.tb)
}

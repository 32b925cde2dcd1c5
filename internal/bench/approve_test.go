package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/ipc"
)

const (
	// A device lets five requests of one relying party wait, and asks for new ones
	// five times in a second.
	portals, atOnce = 4, 4
	// pinEvery is how many of the approvals take the PIN.
	pinEvery = 2
)

// approvals are many of one service, one after the other and some at once, each by
// the whole way: a relying party starts a transaction, the service gets it from
// the server, a helper hears of it, a person reads it and answers, the TPM signs,
// the server acknowledges.
type approvals struct {
	agent *agent
	left  atomic.Int64

	mu      sync.Mutex
	arrived map[string]chan struct{}
}

// approve makes n approvals and returns how long it took.
func (a *agent) approve(tb testing.TB, n int) time.Duration {
	tb.Helper()
	begin := time.Now()
	ctx, cancel := context.WithCancelCause(tb.Context())
	p := &approvals{agent: a, arrived: map[string]chan struct{}{}}
	p.left.Store(int64(n))
	var helper, parties sync.WaitGroup
	helper.Go(func() {
		if err := p.listen(ctx); ctx.Err() == nil {
			cancel(err)
		}
	})
	for range portals {
		rp := newPortal(tb, a.server, a.users[0])
		for range atOnce {
			parties.Go(func() {
				if err := p.work(ctx, rp); err != nil {
					cancel(err)
				}
			})
		}
	}
	parties.Wait()
	took := time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		tb.Fatalf("approving: %v\n%s", err, a.said)
	}
	cancel(nil)
	helper.Wait()
	a.caller.Close()
	return took
}

// listen is the helper's stream.
func (p *approvals) listen(ctx context.Context) error {
	return p.agent.caller.Events(ctx, true, func(e ipc.Event) error {
		if e.Kind == ipc.EventPending {
			p.mu.Lock()
			defer p.mu.Unlock()
			if ch := p.here(e.Request.ID); !isClosed(ch) {
				close(ch)
			}
		}
		return nil
	})
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// here expects p.mu held.
func (p *approvals) here(id string) chan struct{} {
	if p.arrived[id] == nil {
		p.arrived[id] = make(chan struct{})
	}
	return p.arrived[id]
}

func (p *approvals) await(ctx context.Context, id string) error {
	p.mu.Lock()
	ch := p.here(id)
	p.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Minute):
		return fmt.Errorf("request %s did not arrive", id)
	}
}

// work approves until there are enough.
func (p *approvals) work(ctx context.Context, rp *portal) error {
	for left := p.left.Add(-1); left >= 0 && ctx.Err() == nil; left = p.left.Add(-1) {
		kind := "confirm"
		if left%pinEvery == 0 {
			kind = "login"
		}
		id, number, err := rp.begin(ctx, kind)
		if err == nil {
			err = p.await(ctx, id)
		}
		if err == nil {
			err = p.answer(ctx, id, number)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *approvals) answer(ctx context.Context, id, number string) error {
	shown, err := p.agent.caller.Show(ctx, id, ipc.View{})
	if err != nil {
		return err
	}
	a := ipc.Answer{
		RequestHash: shown.RequestHash, DisplayHash: shown.DisplayHash, Language: shown.Language, TimeZone: shown.TimeZone,
		Surface: ipc.SurfaceTTY, Decision: ipc.Approve, Number: number,
	}
	if shown.PINNeeded {
		a.PIN = secret.New([]byte(pin))
	}
	r, err := p.agent.caller.Decide(ctx, id, a)
	if err == nil && (r.Status != "approved" || !r.Confirmed) {
		err = fmt.Errorf("request %s is %s, confirmed: %t", id, r.Status, r.Confirmed)
	}
	return err
}

// portal is a relying party.
type portal struct {
	url, id, secret, user string
	http                  *http.Client
}

func newPortal(tb testing.TB, s *server, user string) *portal {
	tb.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(tb, s.ca())) {
		tb.Fatal("the server has no certificate")
	}
	a := s.command("client", "add", fmt.Sprintf("bank-%d", time.Now().UnixNano()))
	p := &portal{url: s.issuer, user: user, http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	p.id, _ = a["client_id"].(string)
	p.secret, _ = a["client_secret"].(string)
	return p
}

// begin starts a transaction.
func (p *portal) begin(ctx context.Context, kind string) (id, number string, err error) {
	body, err := json.Marshal(map[string]any{
		"type": kind, "user": p.user, "message": "Pay 12.50 EUR to Bob",
		"details": []map[string]string{{"label": "Account", "value": "NL00BANK0123456789"}},
	})
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v1/transactions", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.SetBasicAuth(p.id, p.secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return "", "", errors.New("start: " + resp.Status)
	}
	var t struct{ ID, Number string }
	err = json.NewDecoder(resp.Body).Decode(&t)
	return t.ID, t.Number, err
}

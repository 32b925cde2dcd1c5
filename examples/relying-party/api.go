package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// wish is what a relying party asks the Token Server for.
type wish struct {
	Type    string   `json:"type"`
	User    string   `json:"user"`
	Message string   `json:"message"`
	Details []detail `json:"details,omitempty"`
	Context *origin  `json:"context,omitempty"`
}

type detail struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// origin is where the wish came from. The prompt shows it as reported by us.
type origin struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// transaction is the server's answer; the number comes with the first only.
type transaction struct {
	ID        string          `json:"id"`
	Status    string          `json:"status"`
	Reason    string          `json:"reason"`
	Number    string          `json:"number"`
	ExpiresAt time.Time       `json:"expires_at"`
	Evidence  json.RawMessage `json:"evidence"`
}

// problem is how the server refuses (RFC 9457), with a code that is stable.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// Error implements error.
func (p *problem) Error() string {
	return strings.TrimSuffix(p.Title+": "+p.Detail, ": ")
}

// api calls the Token Server with our credentials.
type api struct {
	server string
	client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	http *http.Client
}

func newAPI(server, caFile, clientFile string) (*api, error) {
	a := &api{server: strings.TrimSuffix(server, "/")}
	if u, err := url.Parse(server); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("--server is not an https URL")
	}
	if err := a.readClient(clientFile); err != nil {
		return nil, err
	}
	roots, err := readRoots(caFile)
	if err != nil {
		return nil, err
	}
	a.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	}}
	return a, nil
}

func (a *api) readClient(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("client file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("client file: others may read the secret in it; chmod 600 %s", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("client file: %w", err)
	}
	if json.Unmarshal(text, &a.client) != nil || a.client.ID == "" || a.client.Secret == "" {
		return errors.New("client file: it holds no JSON with client_id and client_secret")
	}
	return nil
}

// readRoots returns nil, which means the system's roots, for no file.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("roots: no certificate in %s", file)
	}
	return roots, nil
}

// start begins a transaction.
func (a *api) start(ctx context.Context, w wish) (transaction, error) {
	body, err := json.Marshal(w)
	if err != nil {
		return transaction{}, err
	}
	return a.call(ctx, http.MethodPost, "/v1/transactions", body, 0)
}

// look answers the transaction's state: at once, or when it is final or wait
// seconds are over.
func (a *api) look(ctx context.Context, id string, wait int) (transaction, error) {
	return a.call(ctx, http.MethodGet, "/v1/transactions/"+url.PathEscape(id), nil, wait)
}

func (a *api) call(ctx context.Context, method, path string, body []byte, wait int) (transaction, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait+15)*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return transaction{}, err
	}
	req.SetBasicAuth(a.client.ID, a.client.Secret)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if wait > 0 {
		req.Header.Set("Prefer", fmt.Sprintf("wait=%d", wait))
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return transaction{}, fmt.Errorf("the Token Server does not answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return transaction{}, fmt.Errorf("the Token Server's answer broke off: %w", err)
	}
	return decode(resp.StatusCode, text)
}

func decode(status int, text []byte) (transaction, error) {
	if status != http.StatusOK && status != http.StatusCreated {
		p := &problem{Status: status, Title: http.StatusText(status)}
		_ = json.Unmarshal(text, p) // what is no problem document is named by its status
		return transaction{}, p
	}
	var t transaction
	if err := json.Unmarshal(text, &t); err != nil || t.ID == "" {
		return transaction{}, errors.New("the Token Server's answer is not a transaction")
	}
	if string(t.Evidence) == "null" {
		t.Evidence = nil
	}
	return t, nil
}

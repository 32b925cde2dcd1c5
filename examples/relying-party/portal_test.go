package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// tokenServer plays the Token Server's transaction API.
type tokenServer struct {
	*httptest.Server

	mu      sync.Mutex
	got     wish
	refuse  *problem
	final   transaction
	waits   []string
	decided chan struct{}
}

func startTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{decided: make(chan struct{}), final: transaction{ID: "t-1", Status: "approved", Evidence: json.RawMessage(`{"decision":"a.b.c"}`)}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/transactions", s.start)
	mux.HandleFunc("GET /v1/transactions/t-1", s.look)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, _ := r.BasicAuth(); id != "c-1" || secret != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) start(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewDecoder(r.Body).Decode(&s.got)
	if s.refuse != nil {
		w.WriteHeader(s.refuse.Status)
		_ = json.NewEncoder(w).Encode(s.refuse)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(transaction{ID: "t-1", Status: "pending", Number: "0427", ExpiresAt: time.Now().Add(time.Minute)})
}

func (s *tokenServer) look(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.waits = append(s.waits, r.Header.Get("Prefer"))
	s.mu.Unlock()
	if r.Header.Get("Prefer") != "" {
		select {
		case <-s.decided:
		case <-r.Context().Done():
		}
	}
	select {
	case <-s.decided:
		_ = json.NewEncoder(w).Encode(s.final)
	default:
		_ = json.NewEncoder(w).Encode(transaction{ID: "t-1", Status: "pending"})
	}
}

// startPortal runs the program against s and returns the page's address.
func startPortal(t *testing.T, s *tokenServer) string {
	t.Helper()
	dir := t.TempDir()
	ca := write(t, dir, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	client := write(t, dir, "client.json", `{"client_id":"c-1","client_secret":"s3cret"}`)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--server", s.URL, "--ca", ca, "--client-file", client, "--user", "alice"}, in)
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimSpace(string(line[:n])), "/")
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func get(t *testing.T, u string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(u)
	return body(t, resp, err)
}

func post(t *testing.T, u string, form url.Values) (int, string) {
	t.Helper()
	resp, err := http.PostForm(u, form)
	status, text, _ := body(t, resp, err)
	return status, text
}

func body(t *testing.T, resp *http.Response, err error) (int, string, http.Header) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func login() url.Values {
	return url.Values{"user": {"alice"}, "type": {"login"}, "message": {"Log in"}, "details": {"Account: 12-34\n\nPlace : here: now\n"}}
}

func TestLogin(t *testing.T) {
	s := startTokenServer(t)
	home := startPortal(t, s)

	_, page, header := get(t, home+"/")
	contains(t, page, `name="user" value="alice"`, `<form method="post"`)
	contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
	_, style, header := get(t, home+"/style.css")
	contains(t, style, ".number")
	contains(t, header.Get("Content-Type"), "text/css")

	_, page = post(t, home+"/transactions", login())
	contains(t, page, ">0427<", `http-equiv="refresh"`, `url=/transactions/t-1?wait`)
	want := []detail{{"Account", "12-34"}, {"Place", "here: now"}}
	if s.got.User != "alice" || s.got.Type != "login" || len(s.got.Details) != 2 || s.got.Details[0] != want[0] || s.got.Details[1] != want[1] {
		t.Errorf("the server was asked %+v", s.got)
	}
	if s.got.Context == nil || s.got.Context.IP != "127.0.0.1" {
		t.Errorf("context is %+v", s.got.Context)
	}

	if status, _, _ := get(t, home+"/transactions/t-1/evidence"); status != http.StatusNotFound {
		t.Errorf("evidence of a pending transaction: %d", status)
	}
	close(s.decided)
	_, page, _ = get(t, home+"/transactions/t-1?wait")
	contains(t, page, "Approved", `href="/transactions/t-1/evidence"`)
	if strings.Contains(page, "http-equiv") {
		t.Error("a final page goes on refreshing")
	}
	_, evidence, header := get(t, home+"/transactions/t-1/evidence")
	contains(t, header.Get("Content-Disposition"), "evidence-t-1.json")
	if evidence != `{"decision":"a.b.c"}` {
		t.Errorf("evidence is %s", evidence)
	}
}

func TestPageWaitsForTheDecision(t *testing.T) {
	s := startTokenServer(t)
	home := startPortal(t, s)
	post(t, home+"/transactions", login())
	page := make(chan string, 1)
	go func() {
		resp, err := http.Get(home + "/transactions/t-1?wait")
		if err != nil {
			page <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		page <- string(text)
	}()
	s.final.Status, s.final.Reason = "denied", "not_me"
	close(s.decided)
	contains(t, <-page, "Denied: somebody else", "denied (not_me)")
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.waits[len(s.waits)-1]; last != "wait=25" {
		t.Errorf("Prefer was %q", last)
	}
}

func TestRefusalIsShown(t *testing.T) {
	s := startTokenServer(t)
	home := startPortal(t, s)
	s.refuse = &problem{Status: 422, Title: "Unprocessable", Detail: "message holds <b>", Code: "bad_text"}
	status, page := post(t, home+"/transactions", login())
	if status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", status)
	}
	contains(t, page, "message holds &lt;b&gt;", "<code>bad_text</code>", `value="Log in"`)

	s.refuse = nil
	form := login()
	form.Set("details", "no colon")
	_, page = post(t, home+"/transactions", form)
	contains(t, page, "Label: value")
}

// TestOnlyItsOwnPages: no other site and no other name reaches the portal.
func TestOnlyItsOwnPages(t *testing.T) {
	s := startTokenServer(t)
	home := startPortal(t, s)
	for name, tc := range map[string]struct {
		header, value string
		want          int
	}{
		"other site":     {"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		"other origin":   {"Origin", "https://evil.example", http.StatusForbidden},
		"rebound name":   {"Host", "evil.example", http.StatusMisdirectedRequest},
		"the own origin": {"Origin", home, http.StatusSeeOther},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, home+"/transactions", strings.NewReader(login().Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set(tc.header, tc.value)
		if tc.header == "Host" {
			req.Host = tc.value
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if status, _, _ := body(t, resp, err); status != tc.want {
			t.Errorf("%s: %d, want %d", name, status, tc.want)
		}
	}
	if status, _, _ := get(t, home+"/transactions/t-2"); status != http.StatusNotFound {
		t.Errorf("a transaction that was not started here: %d", status)
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.json", `{"client_id":"c","client_secret":"s"}`)
	open := write(t, dir, "open.json", `{"client_id":"c","client_secret":"s"}`)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nothing":        {nil, "are needed"},
		"http":           {[]string{"--server", "http://x", "--client-file", good}, "not an https URL"},
		"readable":       {[]string{"--server", "https://x", "--client-file", open}, "chmod 600"},
		"no certificate": {[]string{"--server", "https://x", "--client-file", good, "--ca", good}, "no certificate"},
		"everywhere":     {[]string{"--server", "https://x", "--client-file", good, "--listen", "0.0.0.0:0"}, "not a loopback"},
	} {
		if err := run(t.Context(), tc.args, io.Discard); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

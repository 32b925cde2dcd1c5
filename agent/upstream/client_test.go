package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/agent/upstream"
	"countersign/protocol"
)

func TestDeliverOverHTTP2WithTheCertificate(t *testing.T) {
	var calls atomic.Int32
	c := device(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.ProtoMajor != 2 || len(r.TLS.PeerCertificates) != 1 || r.TLS.PeerCertificates[0].Subject.CommonName != "device" {
			t.Errorf("%s with %d certificates", r.Proto, len(r.TLS.PeerCertificates))
		}
		if r.Method != http.MethodPost || r.URL.EscapedPath() != "/device/v1/requests/a%2Fb/decision" || r.Header.Get("Content-Type") != protocol.MediaTypeJOSE || string(body) != "compact" {
			t.Errorf("%s %s %s: %s", r.Method, r.URL.EscapedPath(), r.Header.Get("Content-Type"), body)
		}
		answer(200, "application/json", `{"receipt":"r"}`)(w, r)
	})
	if a, err := c.Deliver(t.Context(), "a/b", "compact"); err != nil || a.Receipt != "r" || calls.Load() != 1 {
		t.Errorf("%+v %v after %d calls", a, err, calls.Load())
	}
}

func TestFetch(t *testing.T) {
	c := device(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"2"`)
		switch r.Header.Get("If-None-Match") {
		case `"1"`:
			if r.Header.Get("Prefer") != "wait=55" {
				t.Errorf("Prefer: %q", r.Header.Get("Prefer"))
			}
			answer(200, "application/json", `{"now":7,"requests":["a","b"]}`)(w, r)
		case "":
			if r.Header.Get("Prefer") != "" {
				t.Errorf("Prefer: %q without a wait", r.Header.Get("Prefer"))
			}
			w.WriteHeader(http.StatusNoContent)
		}
	})
	list, tag, ok, err := c.Fetch(t.Context(), `"1"`, 55*time.Second)
	if err != nil || !ok || tag != `"2"` || list.Now != 7 || len(list.Requests) != 2 {
		t.Errorf("200: %+v %q %v %v", list, tag, ok, err)
	}
	list, tag, ok, err = c.Fetch(t.Context(), "", 0)
	if err != nil || ok || tag != `"2"` || len(list.Requests) != 0 {
		t.Errorf("204: %+v %q %v %v", list, tag, ok, err)
	}
}

// TestProblems: what the server refuses arrives with its code and status, and
// with no text that could do harm in a terminal.
func TestProblems(t *testing.T) {
	left := 2
	for _, c := range []struct {
		name        string
		status      int
		contentType string
		in          protocol.Problem
		want        protocol.Problem
	}{
		{
			"as it should be", 422, protocol.MediaTypeProblem,
			protocol.Problem{Title: "No", Detail: "why", Code: "wrong_number", State: "pending", TriesLeft: &left, Rejection: "jws"},
			protocol.Problem{Status: 422, Title: "No", Detail: "why", Code: "wrong_number", State: "pending", Rejection: "jws"},
		},
		{
			"with a charset", 410, protocol.MediaTypeProblem + "; charset=utf-8",
			protocol.Problem{Title: "Gone", Code: "enrollment_revoked", State: "approved"},
			protocol.Problem{Status: 410, Title: "Gone", Code: "enrollment_revoked", State: "approved"},
		},
		{
			"with a status that is not the real one", 409, protocol.MediaTypeProblem,
			protocol.Problem{Title: "No", Code: "already_decided", Status: 410},
			protocol.Problem{Status: 409, Title: "No", Code: "already_decided"},
		},
		{
			"with escapes", 400, protocol.MediaTypeProblem,
			protocol.Problem{Title: "\x1b[2Jpwned", Detail: "\u202etxt", Code: "bad_request", State: "approved\x1b[0m"},
			protocol.Problem{Status: 400, Title: "status 400", Code: "bad_request"},
		},
		{
			"too long", 400, protocol.MediaTypeProblem,
			protocol.Problem{Title: strings.Repeat("x", 5000), Detail: strings.Repeat("x", 5000), Code: "bad_request", State: "unconfirmed"},
			protocol.Problem{Status: 400, Title: "status 400", Code: "bad_request"},
		},
	} {
		body, err := json.Marshal(c.in)
		if err != nil {
			t.Fatal(err)
		}
		client := device(t, answer(c.status, c.contentType, string(body)))
		_, err = client.Deliver(t.Context(), "id", "compact")
		p, ok := errors.AsType[*protocol.Problem](err)
		if !ok {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := *p
		got.TriesLeft = nil
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestNotTheServer: what a captive portal, a proxy or a broken server answers
// is no answer of the server.
func TestNotTheServer(t *testing.T) {
	huge := `{"receipt":"` + strings.Repeat("x", 9<<20) + `"}`
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"HTML", answer(200, "text/html", "<html>log in</html>")},
		{"HTML, refused", answer(403, "text/html", "<html>log in</html>")},
		{"JSON that is not a problem", answer(404, "application/json", `{"code":"not_found"}`)},
		{"problem without a code", answer(404, protocol.MediaTypeProblem, `{"title":"x"}`)},
		{"problem with a code of its own kind", answer(404, protocol.MediaTypeProblem, "{\"code\":\"\\u001b[2J\"}")},
		{"oversized", answer(200, "application/json", huge)},
		{"oversized behind", answer(200, "application/json", `{"receipt":"r"}`+strings.Repeat(" ", 9<<20))},
		{"bare gateway error", answer(502, "text/plain", "bad gateway")},
	} {
		_, err := device(t, c.h).Deliver(t.Context(), "id", "compact")
		if _, ok := errors.AsType[*protocol.Problem](err); ok || !errors.Is(err, upstream.ErrUnreachable) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Bool
	c := device(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			elsewhere.Store(true)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if _, err := c.Deliver(t.Context(), "id", "compact"); !errors.Is(err, upstream.ErrUnreachable) {
		t.Errorf("a redirect: %v", err)
	}
	if elsewhere.Load() {
		t.Error("the decision was carried elsewhere")
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{})
	c := device(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, _, _, err := c.Fetch(ctx, "", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

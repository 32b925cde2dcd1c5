package ipc_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/ipc"
)

func TestRouteWithoutRuleIsRefused(t *testing.T) {
	for _, access := range []ipc.Access{0, -1, 99} {
		routes := []ipc.Route{{Pattern: "GET /x", Access: access, Handle: value("x", nil)}}
		if _, err := ipc.NewHandler(slog.New(slog.DiscardHandler), routes); err == nil {
			t.Errorf("a route with the rule %d was taken", access)
		}
	}
}

func TestUnknownCall(t *testing.T) {
	resp, err := serve(t).client(t).Get("http://x/v9/nonesuch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(string(body), ipc.CodeNotFound) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestCallOutsideOfASocketIsRefused(t *testing.T) {
	h, err := ipc.NewHandler(slog.New(slog.DiscardHandler), []ipc.Route{{Pattern: "GET /x", Access: ipc.ReadOwn, Handle: value("secret", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	resp, err := http.Get("http://" + l.Addr().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a caller without credentials got %s", resp.Status)
	}
}

func TestErrorsCross(t *testing.T) {
	left := 2
	refusal := &ipc.Error{Code: ipc.CodeWrongPIN, Message: "wrong", Cure: "again", TriesLeft: &left, Status: "pending"}
	for _, c := range []struct {
		name string
		err  error
		want ipc.Error
	}{
		{"a refusal", refusal, *refusal},
		{"a wrapped refusal", errors.Join(errors.New("inner workings"), refusal), *refusal},
		{"another error", errors.New("the PIN is 493817"), ipc.Error{Code: ipc.CodeInternal}},
	} {
		s := serve(t, ipc.Route{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: value(nil, c.err)})
		_, err := s.caller(t).Status(t.Context())
		got, ok := errors.AsType[*ipc.Error](err)
		if !ok || got.Code != c.want.Code || got.Status != c.want.Status || (got.TriesLeft == nil) != (c.want.TriesLeft == nil) {
			t.Errorf("%s: %#v", c.name, err)
			continue
		}
		if strings.Contains(got.Message+got.Cure, "493817") || strings.Contains(got.Message, "inner") {
			t.Errorf("%s: a text crossed that may not: %q", c.name, got.Message)
		}
	}
}

func TestStrictBodies(t *testing.T) {
	s := serve(t, ipc.Route{Pattern: "POST /decide", Access: ipc.ActOwn, Handle: func(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
		ans, err := ipc.DecodeAnswer(r)
		return ans.Decision, err
	}})
	for _, c := range []struct{ name, body, want string }{
		{"good", `{"decision":"deny"}`, "deny"},
		{"good, with a line end", `{"decision":"deny"}` + "\n", "deny"},
		{"unknown member", `{"decision":"deny","force":true}`, ipc.CodeBadRequest},
		{"not JSON", `decision=deny`, ipc.CodeBadRequest},
		{"empty", ``, ipc.CodeBadRequest},
		{"something behind", `{"decision":"deny"}{"decision":"approve"}`, ipc.CodeBadRequest},
		{"garbage behind", `{"decision":"deny"}x`, ipc.CodeBadRequest},
		{"oversized", `{"reason":"` + strings.Repeat("x", ipc.MaxBody) + `"}`, ipc.CodeTooLarge},
		{"oversized behind", `{"decision":"deny"}` + strings.Repeat(" ", ipc.MaxBody), ipc.CodeTooLarge},
		{"bad PIN", `{"pin":"493817!"}`, ipc.CodeBadRequest},
	} {
		resp, err := s.client(t).Post("http://x/decide", "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), `"`+c.want+`"`) {
			t.Errorf("%s: got %s, want %q", c.name, body, c.want)
		}
	}
	if strings.Contains(s.log.String(), "493817") {
		t.Error("a body reached the log")
	}
}

// TestSecretsStayOut: an answer that holds a secret by mistake is not sent,
// and what carries one to the service arrives whole.
func TestSecretsStayOut(t *testing.T) {
	pin := secret.New([]byte("493817"))
	s := serve(
		t,
		ipc.Route{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: value(struct{ PIN secret.Value }{pin}, nil)},
		ipc.Route{Pattern: "POST /v1/requests/{id}/decision", Access: ipc.ActOwn, Handle: func(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
			ans, err := ipc.DecodeAnswer(r)
			if err == nil && string(ans.PIN.Reveal()) != "493817" {
				err = errors.New("another PIN arrived")
			}
			return ipc.Result{ID: r.PathValue("id")}, err
		}},
		ipc.Route{Pattern: "POST /v1/enrollments", Access: ipc.ActOwn, Handle: func(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
			e, err := ipc.DecodeEnrollment(r)
			if err == nil && (string(e.PIN.Reveal()) != "493817" || string(e.URI.Reveal()) != "countersign:x") {
				err = errors.New("another link arrived")
			}
			return ipc.Enrolled{}, err
		}},
	)
	resp, err := s.client(t).Get("http://x/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if strings.Contains(string(body), "493817") || strings.Contains(string(body), "NDkzODE3") {
		t.Errorf("a secret crossed: %s", body)
	}
	c := s.caller(t)
	if r, err := c.Decide(t.Context(), "a/b", ipc.Answer{PIN: pin}); err != nil || r.ID != "a/b" {
		t.Errorf("decide: %+v %v", r, err)
	}
	if _, err := c.Enroll(t.Context(), ipc.Enrollment{URI: secret.New([]byte("countersign:x")), PIN: pin}); err != nil {
		t.Errorf("enroll: %v", err)
	}
	for _, v := range []any{ipc.Answer{PIN: pin}, ipc.Enrollment{PIN: pin}} {
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("%T was encoded: %s", v, b)
		}
	}
	if strings.Contains(s.log.String(), "493817") {
		t.Error("a PIN reached the log")
	}
}

// TestServeWaitsForCalls: what is under way when the service ends may finish,
// and Serve returns only then, since the caller next closes what they use.
func TestServeWaitsForCalls(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	finished := false
	s := serve(t, ipc.Route{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: func(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
		close(entered)
		<-r.Context().Done() // the service ends
		<-release
		finished = true
		return ipc.Status{Version: "1"}, nil
	}})
	answered := make(chan error, 1)
	go func() {
		_, err := s.caller(t).Status(context.Background())
		answered <- err
	}()
	<-entered
	s.stop()
	select {
	case err := <-s.ended:
		t.Errorf("Serve returned before a call under way did: %v", err)
		s.ended <- err
	case <-time.After(200 * time.Millisecond): // it has had its chance
	}
	close(release)
	if err := <-s.ended; err != nil || !finished {
		t.Errorf("the service ended with %v, the call finished: %v", err, finished)
	}
	s.ended <- nil
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
}

func TestEventsEndWithTheContext(t *testing.T) {
	gone := make(chan struct{})
	s := serve(t, ipc.Route{Pattern: "GET /v1/events", Access: ipc.ActOwn, Handle: func(w http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
		defer close(gone)
		_ = json.NewEncoder(w).Encode(ipc.Event{Kind: ipc.EventReady})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return nil, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.caller(t).Events(ctx, false, func(ipc.Event) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v", err)
	}
	<-gone
}

func TestEventsEndWithTheService(t *testing.T) {
	s := serve(t, ipc.Route{Pattern: "GET /v1/events", Access: ipc.ActOwn, Handle: func(w http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
		_ = json.NewEncoder(w).Encode(ipc.Event{Kind: ipc.EventReady})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return nil, nil
	}})
	err := s.caller(t).Events(t.Context(), false, func(ipc.Event) error {
		s.stop()
		return nil
	})
	if e, ok := errors.AsType[*ipc.Error](err); !ok || e.Code != ipc.CodeUnreachable {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestCallerNamesWhatIsMissing(t *testing.T) {
	path := socketPath(t)
	unreachable := func(what string) {
		t.Helper()
		c := ipc.Dial(path)
		defer c.Close()
		_, err := c.Status(t.Context())
		if e, ok := errors.AsType[*ipc.Error](err); !ok || e.Code != ipc.CodeUnreachable || e.Cure == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	unreachable("no socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	unreachable("nobody listens")
	if os.Getuid() != 0 {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		unreachable("not allowed")
	}
}

package session_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
)

// service is the local API on a real socket, with requests that tests make.
// What it checks of an answer is what the tests need, no more.
type service struct {
	t      *testing.T
	socket string
	log    *slog.Logger
	stop   func()

	mu       sync.Mutex
	requests map[string]ipc.Display
	streams  map[chan ipc.Event]bool
	// prompting is what the newest stream said of it.
	prompting string
	// hold, unless nil, keeps the decision about t1 until it is closed.
	hold    chan struct{}
	answers []ipc.Answer
	pins    []string
	// refuse, unless nil, may refuse an answer.
	refuse func(a ipc.Answer, pin string) *ipc.Error
	// setup, unless nil, is what each stream says of an enrollment to be made.
	setup *ipc.Setup
	// unconfirmed makes decisions wait for confirm.
	unconfirmed bool
}

func newService(t *testing.T) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "cs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &service{
		t:        t,
		log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		socket:   filepath.Join(dir, "agent.sock"),
		requests: map[string]ipc.Display{},
		streams:  map[chan ipc.Event]bool{},
	}
}

// start starts serving, again after stop.
func (s *service) start() {
	s.t.Helper()
	h, err := ipc.NewHandler(s.log, []ipc.Route{
		{Pattern: "GET /v1/events", Access: ipc.ReadOwn, Handle: s.events},
		{Pattern: "GET /v1/requests/{id}", Access: ipc.ReadOwn, Handle: s.show},
		{Pattern: "POST /v1/requests/{id}/decision", Access: ipc.ActOwn, Handle: s.decide},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := ipc.Listen(s.socket, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := ipc.Serve(ctx, l, h); err != nil {
			s.t.Error(err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(s.stop)
}

func (s *service) events(w http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
	in := make(chan ipc.Event, 64)
	s.mu.Lock()
	s.prompting = r.URL.Query().Get("prompting")
	for _, d := range s.requests {
		in <- ipc.Event{Kind: ipc.EventPending, Request: &d.Request}
	}
	if s.setup != nil {
		in <- ipc.Event{Kind: ipc.EventSetup, Setup: s.setup}
	}
	in <- ipc.Event{Kind: ipc.EventReady}
	s.streams[in] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, in)
		s.mu.Unlock()
	}()
	enc := json.NewEncoder(w)
	for {
		select {
		case <-r.Context().Done():
			return nil, nil
		case e := <-in:
			if enc.Encode(e) != nil || http.NewResponseController(w).Flush() != nil {
				return nil, nil
			}
		}
	}
}

func (s *service) show(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.requests[r.PathValue("id")]
	if !ok {
		return nil, ipc.Errorf(ipc.CodeNotFound, "", "no such request")
	}
	return d, nil
}

func (s *service) decide(_ http.ResponseWriter, r *http.Request, _ ipc.Scope) (any, error) {
	a, err := ipc.DecodeAnswer(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if s.hold != nil && id == "t1" {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.requests[id]
	if !ok || a.RequestHash != d.RequestHash || a.DisplayHash != d.DisplayHash {
		return nil, ipc.Errorf(ipc.CodeMismatch, "", "that was not shown")
	}
	pin := string(a.PIN.Reveal())
	s.answers, s.pins = append(s.answers, a), append(s.pins, pin)
	if s.refuse != nil {
		if e := s.refuse(a, pin); e != nil {
			return nil, e
		}
	}
	delete(s.requests, id)
	res := ipc.Result{ID: id, Decision: a.Decision, Reason: a.Reason, Status: "unconfirmed"}
	if !s.unconfirmed {
		res.Confirmed, res.Status = true, status(a.Decision)
	}
	s.emit(ipc.Event{Kind: ipc.EventResult, Result: &res})
	return res, nil
}

func status(decision string) string {
	return map[string]string{ipc.Approve: "approved", ipc.Deny: "denied"}[decision]
}

func (s *service) emit(e ipc.Event) {
	for c := range s.streams {
		c <- e
	}
}

// add makes a request wait.
func (s *service) add(d ipc.Display) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[d.ID] = d
	s.emit(ipc.Event{Kind: ipc.EventPending, Request: &d.Request})
}

// close ends a request from the server's side.
func (s *service) close(id, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.requests[id]
	delete(s.requests, id)
	d.Status = status
	s.emit(ipc.Event{Kind: ipc.EventClosed, Request: &d.Request})
}

// confirm delivers the truth about an unconfirmed decision.
func (s *service) confirm(id, decision string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit(ipc.Event{Kind: ipc.EventResult, Result: &ipc.Result{ID: id, Decision: decision, Status: status(decision), Confirmed: true}})
}

func (s *service) given() ([]ipc.Answer, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answers), slices.Clone(s.pins)
}

func (s *service) waitAnswers(n int) []ipc.Answer {
	s.t.Helper()
	testenv.Eventually(s.t, "an answer arrives", func() bool { a, _ := s.given(); return len(a) >= n })
	a, _ := s.given()
	return a
}

func (s *service) waitPrompting(want string) {
	s.t.Helper()
	testenv.Eventually(s.t, "the service learns whether the session prompts", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.prompting == want
	})
}

func (s *service) pending() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.requests))
}

// request is one of class C2 from the bank.
func request(id string) ipc.Display {
	return ipc.Display{
		Request: ipc.Request{
			ID: id, Profile: "p1", Client: ipc.RelyingParty{ID: "bank", Name: "Test Bank"},
			Message: "Pay 40 EUR to Hooli", Class: "C2", ReceivedAt: time.Now(), Status: "pending",
		},
		Account:      "alice@bank.example",
		Lines:        []string{"Test Bank asks you to approve:", "  Pay 40 EUR to Hooli", "Server: https://bank.example"},
		RequestHash:  "req-" + id,
		DisplayHash:  "dis-" + id,
		NumberDigits: 2,
		PINNeeded:    true,
	}
}

// run runs a session until the test ends, and returns how to end it before.
func run(t *testing.T, s *session.Session) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

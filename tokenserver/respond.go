package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// handler answers, or returns why not and has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle makes a handler answer its refusals, and logs each of them once. Who
// has gone gets no answer: an empty one would say that all is well.
func (s *Server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat)) // by the clock that everything else goes by
		w.Header().Set(protocol.HeaderTrust, strconv.FormatInt(s.pki.Seq(), 10))
		limitBody(w, r)
		err := call(h, w, r)
		switch {
		case err == nil:
			return
		case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
			panic(http.ErrAbortHandler)
		}
		p := refusalOf(err)
		s.logRefusal(r, p.Status, p.Code, err)
		writeProblem(w, p)
	})
}

// refusalOf is problem.From, and names a disk that takes nothing.
func refusalOf(err error) *protocol.Problem {
	if errors.Is(err, store.ErrStorage) {
		return problem.New(protocol.ProblemStorage, "the server cannot store anything at present")
	}
	return problem.From(err)
}

// bodyTime is how long a body may take to arrive.
const bodyTime = 10 * time.Second

// limitBody ends the wait for a body, also where no handler reads it: before an
// answer the HTTP server reads what is left, however slowly it comes.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// call makes an error of a panic, which would go by unanswered and unseen.
func call(h handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("tokenserver: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return h(w, r)
}

// logRefusal names the route rather than the path, and the cause only where it
// is our own fault: nothing that was sent gets into the log.
func (s *Server) logRefusal(r *http.Request, status int, code string, err error) {
	args := []any{"route", r.Pattern, "status", status, "code", code, "peer", r.RemoteAddr}
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		level, args = slog.LevelError, append(args, "err", err)
	}
	if code == protocol.ProblemSuspended {
		level = slog.LevelWarn // somebody should look at it
	}
	s.log.Log(r.Context(), level, "request refused", args...)
}

func writeProblem(w http.ResponseWriter, p *protocol.Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"Internal error","status":500,"code":"internal_error"}`)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	write(w, p.Status, protocol.MediaTypeProblem, body)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	write(w, status, "application/json", body)
	return nil
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // always JSON, and said to be nothing else
}

// readBody reads a whole body of at most protocol.MaxMessage bytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxMessage))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, problem.New(protocol.ProblemBodyTooLarge, "the body is over %d bytes", protocol.MaxMessage)
	}
	if err != nil {
		return nil, problem.New(protocol.ProblemBadRequest, "the body did not arrive")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the handler may wait longer
	return body, nil
}

// readStrict reads a JSON body by the protocol's rules.
func readStrict(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	return protocol.DecodeStrict(body, v)
}

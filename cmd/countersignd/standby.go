package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"countersign/internal/version"
	"countersign/ipc"
	"countersign/systemd"
)

// How long the service waits before it looks again whether it can do its work:
// at first a little, since a disk may only be late, and then longer.
const (
	firstLook = time.Second
	lastLook  = 30 * time.Second
)

// fault is why the service cannot do its work, as of now.
type fault struct{ text atomic.Pointer[string] }

func (f *fault) set(err error) { text := err.Error(); f.text.Store(&text) }

func (f *fault) String() string { return *f.text.Load() }

// standBy answers on the socket, with the reason and with refusals, until what
// kept the service from its work is mended. It returns nil when ctx ends first.
func (s *service) standBy(ctx context.Context, why error) (w *works, err error) {
	f := &fault{}
	f.set(why)
	s.log.Error("the service cannot do its work, and refuses everything until that is mended", "error", why)
	socket, err := s.listen(s.flags.socketPath(), s.flags.user)
	if err != nil {
		return nil, err
	}
	handler, err := ipc.NewHandler(s.log, f.routes(s.flags.user))
	if err != nil {
		return nil, err
	}
	ctx, mended := context.WithCancel(ctx)
	defer mended()
	err = s.serve(ctx, socket, handler, "degraded: "+f.String(), func(ctx context.Context) error {
		w = s.mend(ctx, f)
		mended()
		return nil
	})
	return w, err
}

// mend tries again and again until it succeeds, or ctx ends.
func (s *service) mend(ctx context.Context, f *fault) *works {
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		w, err := s.build()
		if err == nil {
			s.log.Info("what kept the service from its work is mended")
			return w
		}
		if err.Error() != f.String() {
			s.log.Error("the service still cannot do its work", "error", err)
			f.set(err)
			_ = systemd.Status("degraded: " + f.String())
		}
	}
}

// routes answer the questions that find out what is wrong, and refuse the rest.
func (f *fault) routes(user bool) []ipc.Route {
	answer := func(v func() any) func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
		return func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) { return v(), nil }
	}
	return []ipc.Route{
		{Pattern: "GET /v1/alive", Access: ipc.ReadOwn, Handle: answer(func() any { return struct{}{} })},
		{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: answer(func() any {
			return ipc.Status{Version: version.Version(), Mode: mode(user), Degraded: []string{f.String()}}
		})},
		{Pattern: "GET /v1/doctor", Access: ipc.ReadOwn, Handle: answer(func() any {
			return []ipc.Check{{Code: "degraded", Status: ipc.CheckFail, Detail: "the service cannot do its work: " + f.String(), Cure: degradedCure}}
		})},
		{Pattern: "/v1/", Access: ipc.ReadOwn, Handle: func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
			return nil, ipc.Errorf(ipc.CodeDegraded, degradedCure, "the service cannot do its work: %s", f)
		}},
	}
}

const degradedCure = "mend what it says; the service looks again by itself, within half a minute"

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"countersign/ipc"
	"countersign/systemd"
)

// service is the program as it runs: what answers on its socket changes when what
// was wrong is mended.
type service struct {
	flags flags
	log   *slog.Logger
	out   io.Writer
	// passed is the socket that systemd keeps; nil where the service makes its own.
	passed *systemd.Socket
	// managed says that somebody waits for notifications, and would only start
	// again what ends.
	managed bool
	// announced is done once "ready" is printed.
	announced sync.Once
}

// run serves until ctx ends. It prints "ready" once the socket answers, with or
// without its chips.
//
// A service that cannot do its work, since its configuration is wrong or its state
// cannot be opened, ends where a person started it. Under a service manager it
// stays, says why to whoever asks, refuses everything, and tries again.
func run(ctx context.Context, f flags, out io.Writer) error {
	passed, err := systemd.PassedSocket()
	if err != nil {
		return usageError{err} // whoever started it has to mend that
	}
	s := &service{flags: f, log: slog.New(slog.NewTextHandler(os.Stderr, nil)), out: out, passed: passed, managed: systemd.Managed()}
	w, err := s.build()
	if err != nil && !s.managed {
		return err
	}
	if err != nil {
		if w, err = s.standBy(ctx, err); err != nil {
			return err
		}
	}
	if w == nil {
		return nil // it was ended before it could begin
	}
	return errors.Join(s.work(ctx, w), w.close())
}

// work serves until ctx ends.
func (s *service) work(ctx context.Context, w *works) error {
	socket, err := s.listen(w.cfg.Socket, w.cfg.user)
	if err != nil {
		return err
	}
	return s.serve(ctx, socket, w.handler, "serving", w.core.Run)
}

// serve answers on a socket, and keeps the service manager informed, until ctx
// ends or one of the background does.
func (s *service) serve(ctx context.Context, socket net.Listener, h http.Handler, status string, background ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ipc.Serve(ctx, socket, h) })
	s.ready(status)
	g.Go(func() error {
		return systemd.Watch(ctx, s.log, ipc.Dial(socket.Addr().String()).Alive)
	})
	for _, b := range background {
		g.Go(func() error { return b(ctx) })
	}
	return g.Wait()
}

// ready tells who waits for it. The socket takes connections already.
func (s *service) ready(status string) {
	s.announced.Do(func() { fmt.Fprintln(s.out, "ready") })
	if err := errors.Join(systemd.Status(status), systemd.Ready()); err != nil {
		s.log.Warn("the service manager does not know that the service is ready", "error", err)
	}
}

// listen takes connections on the socket that systemd keeps, or makes one.
func (s *service) listen(path string, user bool) (net.Listener, error) {
	if s.passed != nil {
		return s.passed.Listen()
	}
	if path == "" {
		return nil, usageError{errors.New("XDG_RUNTIME_DIR is not set: name the socket with --socket")}
	}
	return ipc.Listen(path, socketMode(user))
}

// socketMode lets every local user in where the service is the system's: the
// kernel says who calls, and the routes say what they may.
func socketMode(user bool) os.FileMode {
	if user {
		return 0o600
	}
	return 0o666
}

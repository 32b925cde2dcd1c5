package tokenserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/protocol"
)

// Run serves until ctx ends, then ends every wait and lets what runs finish.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	rp := s.http(s.rpTLS, s.relyingPartyRoutes())
	device := s.http(s.deviceTLS, s.deviceRoutes())
	g.Go(func() error { return serve(rp, s.rpListener) })
	g.Go(func() error { return serve(device, s.deviceListener) })
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return s.shutdown(rp, device)
	})
	return g.Wait()
}

func serve(srv *http.Server, l net.Listener) error {
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("tokenserver: serve: %w", err)
	}
	return nil
}

// Alive asks both listeners for what anybody may ask, over TLS like anybody, and
// the database behind them. It fails while Run does not serve.
func (s *Server) Alive(ctx context.Context) error {
	for _, l := range []net.Listener{s.rpListener, s.deviceListener} {
		if err := s.ask(ctx, l.Addr().String()); err != nil {
			return fmt.Errorf("tokenserver: %s: %w", l.Addr(), err)
		}
	}
	return nil
}

// ask calls a listener of this very process: that it has a certificate is enough,
// since nothing is told to it and nothing of what it says is used.
func (s *Server) ask(ctx context.Context, addr string) error {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answers %s", resp.Status)
	}
	return nil
}

// grace is how long answers may take once the server is to stop.
const grace = 10 * time.Second

func (s *Server) shutdown(servers ...*http.Server) error {
	close(s.stopping)
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			s.log.Warn("connections were cut", "err", err)
			_ = srv.Close()
		}
	}
	return nil
}

func (s *Server) http(conf *tls.Config, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: conf,
		// Bodies are read with a limit of their own. That on the answer leaves
		// room for a poll, and is for those who never read what they ask for.
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      (protocol.MaxWait + 30) * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

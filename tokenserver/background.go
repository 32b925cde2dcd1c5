package tokenserver

import (
	"context"
	"time"
)

const (
	sweepEvery = time.Second
	watchEvery = time.Second
)

// sweep makes known what has expired.
func (s *Server) sweep(ctx context.Context) error {
	return every(ctx, sweepEvery, func() {
		if err := s.engine.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("expiry is late", "err", err)
		}
	})
}

// watch wakes everybody when another process has changed the database, since
// nobody but the database tells what it changed.
func (s *Server) watch(ctx context.Context) error {
	last, err := s.store.Changes(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return every(ctx, watchEvery, func() {
		s.refresh()
		n, err := s.store.Changes(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("changes by other processes are late", "err", err)
			}
			return
		}
		if n != last {
			last = n
			s.hub.PublishAll()
		}
	})
}

// refresh takes up what another process has changed of names and keys, and tells
// everybody who waits.
func (s *Server) refresh() {
	if err := s.pki.Refresh(); err != nil {
		s.log.Error("a change of names or keys is late", "err", err)
	}
	if seq := s.pki.Seq(); seq != s.published {
		s.published = seq
		s.log.Info("names and keys changed", "seq", seq)
		s.hub.PublishAll()
	}
}

func every(ctx context.Context, d time.Duration, f func()) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return nil
		}
	}
}

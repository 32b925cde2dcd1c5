package tokenserver

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countersign/protocol"
)

// wait calls ready until it says true or fails, at first and whenever the
// topic is woken, and a last time when the wait is over or the server stops.
func (s *Server) wait(ctx context.Context, topic string, d time.Duration, ready func() (bool, error)) error {
	// Subscribed before the first look, so that nothing falls in between.
	wake, cancel := s.hub.Subscribe(topic)
	defer cancel()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for over := d <= 0; ; {
		ok, err := ready()
		if ok || err != nil || over {
			return err
		}
		select {
		case <-wake:
		case <-timer.C:
			over = true
		case <-s.stopping:
			over = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// preferredWait reads "Prefer: wait=N" (RFC 7240 section 4.3), at most
// protocol.MaxWait seconds, and says in the answer what is applied. What is
// not understood is not preferred, as the RFC wants.
func preferredWait(w http.ResponseWriter, r *http.Request) time.Duration {
	for _, header := range r.Header.Values("Prefer") {
		for _, p := range strings.Split(header, ",") {
			p, _, _ = strings.Cut(p, ";")
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				continue
			}
			n = min(n, protocol.MaxWait)
			w.Header().Set("Preference-Applied", "wait="+strconv.FormatUint(n, 10))
			return time.Duration(n) * time.Second
		}
	}
	return 0
}

package upstream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"countersign/protocol"
)

// pollWait is what a long poll asks the server to wait, pollSpacing the least
// time between two polls: a server that answers at once, always, must not make
// the device spin.
const (
	pollWait    = 55 * time.Second
	pollSpacing = 200 * time.Millisecond

	// unconfirmedPause is the longest pause while the enrollment waits for its
	// code to be confirmed: a person is at it and looks at both screens.
	unconfirmedPause = 2 * time.Second
	// portalPause is the longest pause behind a login page of the network: somebody
	// is logging in just now, or will.
	portalPause = 8 * time.Second
)

// Backoff gives growing, jittered pauses, so that a fleet does not come back
// all at once. The zero value is ready.
type Backoff struct {
	next   time.Duration
	paused int
}

const (
	firstPause = 500 * time.Millisecond
	// shortPause is the longest while an outage may still be a restart, which
	// it is for so many pauses: half a minute and more. Who waits for an answer
	// then has it soon after.
	shortPause = 4 * time.Second
	shortly    = 12
	maxPause   = time.Minute
)

// Pause is how long to wait now: between half of the current step and all of
// it. The step doubles up to a minute, and stays at four seconds for a while.
func (b *Backoff) Pause() time.Duration {
	limit := maxPause
	if b.paused++; b.paused <= shortly {
		limit = shortPause
	}
	b.next = min(max(2*b.next, firstPause), limit)
	return b.next/2 + rand.N(b.next/2+1) //nolint:gosec // jitter, not a secret
}

// Reset begins anew after a success.
func (b *Backoff) Reset() { *b = Backoff{} }

// Sleep waits for d or for the end of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Fetcher is what Watch polls; *Client is one. One that has Woken too, as Client
// does, can end the pause after a failed poll, and one that has Hasty keeps it short.
type Fetcher interface {
	Fetch(ctx context.Context, etag string, wait time.Duration) (list protocol.Requests, newTag string, ok bool, err error)
}

// Watcher is told what Watch learns. It is called from one goroutine.
type Watcher interface {
	// BeforeFetch is called just before a poll is sent: what the list says of
	// time counts from here.
	BeforeFetch()
	// Listed is the whole list of pending requests. It is the empty one, with
	// no time, where the server has nothing. The context is Watch's.
	Listed(ctx context.Context, list protocol.Requests)
	// Reached says whether the last poll got an answer.
	Reached(err error)
}

// pauseFor waits for d, for the end of ctx, or until there is a reason to try now.
func pauseFor(ctx context.Context, f Fetcher, d time.Duration) {
	var woken <-chan struct{}
	if w, ok := f.(interface{ Woken() <-chan struct{} }); ok {
		woken = w.Woken()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-woken:
	}
}

// Final reports whether a refusal of the device API ends an enrollment. 401
// does not: a server behind a proxy that swallows the certificate, or one
// whose clock is wrong, gives it too, and will mend.
func Final(err error) (*protocol.Problem, bool) {
	p, ok := errors.AsType[*protocol.Problem](err)
	return p, ok && p.Status == http.StatusGone
}

// Watch keeps a long poll open until ctx ends or the server says that the
// enrollment is over; then it returns that problem. Whatever else goes wrong
// it tries again, later each time.
//
// The first poll, and the first after a failure, names no list and does not
// wait: what was missed shows at once, and so does what is over.
func Watch(ctx context.Context, log *slog.Logger, f Fetcher, w Watcher) error {
	var backoff Backoff
	etag, wait := "", time.Duration(0)
	for ctx.Err() == nil {
		w.BeforeFetch()
		list, newTag, ok, err := f.Fetch(ctx, etag, wait)
		if ctx.Err() != nil {
			break
		}
		w.Reached(err)
		if p, final := Final(err); final {
			return p
		}
		if err != nil {
			etag, wait = "", 0
			pause := backoff.Pause()
			if p, ok := errors.AsType[*protocol.Problem](err); ok && p.Code == protocol.ProblemUnconfirmed {
				pause = min(pause, unconfirmedPause)
			}
			if h, ok := f.(interface{ Hasty() bool }); ok && h.Hasty() {
				pause = min(pause, portalPause)
			}
			log.Info("poll failed", "error", err, "again_in", pause)
			pauseFor(ctx, f, pause)
			continue
		}
		backoff.Reset()
		if ok || etag == "" {
			w.Listed(ctx, list)
		}
		etag, wait = newTag, pollWait
		_ = Sleep(ctx, pollSpacing)
	}
	return ctx.Err()
}

package upstream_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/upstream"
	"countersign/protocol"
)

func TestBackoff(t *testing.T) {
	var b upstream.Backoff
	steps := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}
	for range 9 { // it may be over soon
		steps = append(steps, 4*time.Second)
	}
	steps = append(steps, 8*time.Second, 16*time.Second, 32*time.Second, time.Minute, time.Minute, time.Minute)
	differ := false
	for range 50 {
		first := time.Duration(0)
		for i, step := range steps {
			got := b.Pause()
			if got < step/2 || got > step {
				t.Fatalf("pause %d is %v, want %v to %v", i, got, step/2, step)
			}
			if i == 0 {
				first = got
			}
		}
		b.Reset()
		differ = differ || b.Pause() != first
		b.Reset()
	}
	if !differ {
		t.Error("the pauses are not jittered")
	}
	for range 1000 {
		b.Pause()
	}
	if got := b.Pause(); got < 30*time.Second || got > time.Minute {
		t.Errorf("after a thousand failures the pause is %v", got)
	}
}

func TestSleepEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := upstream.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if err := upstream.Sleep(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
	})
}

// poll is one call of Fetch as the script answers it.
type poll struct {
	took time.Duration
	list []string
	tag  string
	none bool // 204
	err  error
}

// script is a server and a watcher in one: it answers polls in turn, then ends
// the watch, and writes down what happens.
type script struct {
	polls  []poll
	end    context.CancelFunc
	begin  time.Time
	at     []time.Duration
	tags   []string
	waits  []time.Duration
	listed [][]string
	reach  []error
	before int
}

func (s *script) Fetch(ctx context.Context, etag string, wait time.Duration) (list protocol.Requests, tag string, ok bool, err error) {
	n := len(s.at)
	s.at, s.tags, s.waits = append(s.at, time.Since(s.begin)), append(s.tags, etag), append(s.waits, wait)
	if n == len(s.polls) {
		s.end()
		return list, "", false, ctx.Err()
	}
	p := s.polls[n]
	_ = upstream.Sleep(ctx, p.took)
	if p.err != nil {
		return list, "", false, p.err
	}
	return protocol.Requests{Now: 1, Requests: p.list}, p.tag, !p.none, nil
}

func (s *script) BeforeFetch() { s.before++ }
func (s *script) Listed(_ context.Context, list protocol.Requests) {
	s.listed = append(s.listed, list.Requests)
}
func (s *script) Reached(err error) { s.reach = append(s.reach, err) }

func (s *script) watch(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.end, s.begin = cancel, time.Now()
	return upstream.Watch(ctx, slog.New(slog.DiscardHandler), s, s)
}

// TestPollsAreSpaced: a server that answers at once, always, makes nobody spin.
func TestPollsAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{polls: make([]poll, 100)}
		if err := s.watch(t); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for i := 1; i < len(s.at); i++ {
			if gap := s.at[i] - s.at[i-1]; gap < 200*time.Millisecond {
				t.Fatalf("poll %d came %v after the one before", i, gap)
			}
		}
		if s.before != len(s.at) {
			t.Errorf("told before %d of %d polls", s.before, len(s.at))
		}
	})
}

// TestTagsAndWaits: the first poll, and the first after a failure, asks for
// the whole list at once; the others wait for another one.
func TestTagsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{polls: []poll{
			{list: []string{"a"}, tag: "1"},
			{took: 55 * time.Second, none: true, tag: "1"},
			{err: upstream.ErrUnreachable},
			{list: []string{"a", "b"}, tag: "2"},
			{list: nil, tag: "3"},
		}}
		_ = s.watch(t)
		const long = 55 * time.Second
		tags, waits := []string{"", "1", "1", "", "2", "3"}, []time.Duration{0, long, long, 0, long, long}
		for i := range tags {
			if s.tags[i] != tags[i] || s.waits[i] != waits[i] {
				t.Errorf("poll %d names %q and waits %v, want %q and %v", i, s.tags[i], s.waits[i], tags[i], waits[i])
			}
		}
		if len(s.listed) != 3 || len(s.listed[1]) != 2 || len(s.listed[2]) != 0 {
			t.Errorf("listed: %v", s.listed)
		}
	})
}

// TestNothingIsPendingAnyMore: what ended while the device was away is ended
// by the first answer that says there is nothing.
func TestNothingIsPendingAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{polls: []poll{
			{list: []string{"a"}, tag: "1"},
			{err: upstream.ErrUnreachable},
			{none: true, tag: "0"},
			{none: true, tag: "0", took: 55 * time.Second},
		}}
		_ = s.watch(t)
		if len(s.listed) != 2 || len(s.listed[1]) != 0 {
			t.Errorf("listed: %v, want a, then nothing", s.listed)
		}
	})
}

func TestFailedPollsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 12 {
			s.polls = append(s.polls, poll{err: upstream.ErrUnreachable})
		}
		s.polls = append(s.polls, poll{tag: "1"}, poll{err: upstream.ErrUnreachable})
		_ = s.watch(t)
		step := 500 * time.Millisecond
		for i := 1; i <= 12; i++ {
			if gap := s.at[i] - s.at[i-1]; gap < step/2 || gap > step {
				t.Errorf("pause %d is %v, want %v to %v", i, gap, step/2, step)
			}
			step = min(2*step, 4*time.Second)
		}
		if gap := s.at[14] - s.at[13]; gap > 500*time.Millisecond {
			t.Errorf("after a success the first pause is %v", gap)
		}
		if len(s.reach) != 14 || s.reach[0] == nil || s.reach[12] != nil || s.reach[13] == nil {
			t.Errorf("reached: %v", s.reach)
		}
	})
}

// TestOnlyGoneEndsTheWatch: every other refusal may mend.
func TestOnlyGoneEndsTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{polls: []poll{
			{err: problem(401, protocol.ProblemUnauthorized)},
			{err: problem(403, protocol.ProblemUnconfirmed)},
			{err: problem(404, protocol.ProblemNotFound)},
			{err: problem(500, protocol.ProblemInternal)},
			{err: problem(410, protocol.ProblemRevoked)},
			{tag: "1"},
		}}
		err := s.watch(t)
		if p, ok := errors.AsType[*protocol.Problem](err); !ok || p.Code != protocol.ProblemRevoked || len(s.at) != 5 {
			t.Errorf("ended with %v after %d polls", err, len(s.at))
		}
	})
}

// TestUnconfirmedIsAskedAgainSoon: somebody is confirming the code just now.
func TestUnconfirmedIsAskedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 20 {
			s.polls = append(s.polls, poll{err: problem(403, protocol.ProblemUnconfirmed)})
		}
		_ = s.watch(t)
		for i := 1; i < len(s.at); i++ {
			if gap := s.at[i] - s.at[i-1]; gap > 2*time.Second {
				t.Fatalf("pause %d is %v", i, gap)
			}
		}
	})
}

package agent

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countersign/ipc"
)

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, _, stop := patient(t.Context())
		defer stop()
		<-ctx.Done()
		if took := time.Since(began); took != chipPatience {
			t.Errorf("the chip was given up after %v", took)
		}
		if e := chipError(outOfPatience(ctx)); e.Code != ipc.CodeChipUnavailable {
			t.Errorf("the person is told %+v", e)
		}
	})
}

// TestPatienceWaitsForATouch: a person takes as long as a person takes, and
// whoever asked may still go.
func TestPatienceWaitsForATouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx, touched, stop := patient(outer)
		defer stop()
		time.AfterFunc(chipPatience-time.Millisecond, touched)
		<-time.After(time.Hour)
		if ctx.Err() != nil {
			t.Fatalf("it ended: %v", context.Cause(ctx))
		}
		cancel()
		if !errors.Is(ctx.Err(), context.Canceled) || outOfPatience(ctx) != nil {
			t.Errorf("the caller has gone: %v", context.Cause(ctx))
		}
	})
}

// TestLookoutOfAHangingChip: one question is under way, however many want to
// know, and what was last known is told meanwhile.
func TestLookoutOfAHangingChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lookouts
		var looks atomic.Int32
		answer := make(chan []string)
		look := func() []string { looks.Add(1); return <-answer }
		done := l.look(1, look)
		l.look(1, look)
		synctest.Wait()
		if looks.Load() != 1 || !slices.Equal(l.last(1), []string{notSeen}) {
			t.Errorf("%d questions; told %q", looks.Load(), l.last(1))
		}
		answer <- []string{"gone"}
		<-done
		done = l.look(1, look)
		if !slices.Equal(l.last(1), []string{"gone"}) {
			t.Errorf("told %q while the chip hangs", l.last(1))
		}
		answer <- nil
		<-done
		if len(l.last(1)) != 0 {
			t.Errorf("told %q of a chip that is well", l.last(1))
		}
	})
}

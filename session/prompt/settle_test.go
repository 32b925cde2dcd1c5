package prompt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// eager is a pinentry program whose every page is approved at once.
const eager = `#!/bin/sh
while echo OK && read -r line; do :; done
`

// TestTheBoundaryOfWindows answers a page again and again, at ages that a clock
// of its own gives them: one that is a millisecond too young does not count.
func TestTheBoundaryOfWindows(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "pinentry")
	if err := os.WriteFile(program, []byte(eager), 0o700); err != nil {
		t.Fatal(err)
	}
	ages := []time.Duration{-time.Hour, 0, time.Millisecond, settle, settleWindow - time.Millisecond, settleWindow - 1, settleWindow}
	asked := 0
	d := &dialog{p: &Pinentry{Program: program, Now: func() time.Time {
		now := time.Unix(1000, 0)
		if asked%2 == 1 { // when the answer has come
			now = now.Add(ages[min(asked/2, len(ages)-1)])
		}
		asked++
		return now
	}}}
	_, c, err := d.page(t.Context(), page{text: "x"}, "CONFIRM")
	if err != nil || c != yes || asked != 2*len(ages) {
		t.Errorf("answer %d after %d looks at the clock, want %d: %v", c, asked, 2*len(ages), err)
	}
}

// TestTheBoundaryOfTerminals: what is typed is thrown away at one second, no
// millisecond sooner.
func TestTheBoundaryOfTerminals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var discarded atomic.Bool
		go func() { _ = settled(t.Context(), func() error { discarded.Store(true); return nil }) }()
		<-time.After(settle - time.Millisecond)
		synctest.Wait()
		if discarded.Load() {
			t.Error("a millisecond too soon")
		}
		<-time.After(time.Millisecond)
		synctest.Wait()
		if !discarded.Load() {
			t.Error("not at one second")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), settle-time.Millisecond)
		defer cancel()
		if err := settled(ctx, func() error { t.Error("it was answered after its end"); return nil }); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("error %v", err)
		}
	})
}

package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
)

func TestPINsAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pinThrottle
		wrong := &hsm.PINError{TriesLeft: 1}
		try := func() time.Duration {
			t.Helper()
			begin := time.Now()
			if err := p.wait(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			if err := p.check(); err != nil {
				t.Fatalf("after the wait: %v", err)
			}
			return time.Since(begin)
		}
		for i, want := range []int{0, 0, 2, 4, 8, 16, 32, 60, 60} {
			if got := try(); got != time.Duration(want)*time.Second {
				t.Errorf("try %d waited %v, want %v s", i+1, got, want)
			}
			p.used(wrong)
		}
		if err := p.check(); codeOf(err) != ipc.CodePINDelayed {
			t.Errorf("a try side by side: %v", err)
		}
		begin := time.Now()
		if err := p.wait(t.Context(), false); err != nil || time.Since(begin) != 0 {
			t.Errorf("without a PIN: %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.wait(ctx, true); codeOf(err) != ipc.CodePINDelayed || time.Since(begin) != time.Second {
			t.Errorf("an impatient caller: %v after %v", err, time.Since(begin))
		}
		p.used(hsm.ErrUnavailable) // says nothing of the PIN
		if p.delay(time.Now()) == 0 {
			t.Error("an absent chip ended the delay")
		}
		_ = upstream.Sleep(t.Context(), time.Minute)
		p.used(nil)
		if got := try(); got != 0 {
			t.Errorf("after the right PIN a try waited %v", got)
		}
	})
}

// TestLockedTriesWriteFewRecords: a chip that has locked a PIN refuses each try at
// once, and who goes on all the same does not push other records out of the log.
func TestLockedTriesWriteFewRecords(t *testing.T) {
	k := newKit(t)
	for range 200 {
		k.profile.usedPIN("r", hsm.ErrPINLocked)
	}
	n := 0
	for _, kind := range k.audited() {
		if kind == recordPINLocked {
			n++
		}
	}
	if n == 0 || n > 20 {
		t.Errorf("200 tries wrote %d records", n)
	}
}

package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

// watched is an attention in a bubble of time.
type watched struct {
	*attention
	stored state.Attention
	told   []string
}

func watch(t *testing.T, boot string, stored state.Attention) *watched {
	t.Helper()
	began := time.Now()
	w := &watched{}
	w.attention = newAttention(func() time.Duration { return time.Hour + time.Since(began) }, boot, stored,
		func(a state.Attention) error { w.stored = a; return nil }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, func(_ uint32, why string) { w.told = append(w.told, why) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *watched) why() string {
	why, _ := w.standing(testUID)
	return why
}

func TestThreeInTenMinutesAreTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "b", state.Attention{})
		w.strike(testUID)
		time.Sleep(strikeWindow) //nolint:forbidigo // time in the bubble
		w.strike(testUID)
		w.strike(testUID)
		if w.why() != "" || w.floor(testUID) != protocol.C0 {
			t.Error("three in more than ten minutes are too many")
		}
		time.Sleep(strikeWindow - time.Nanosecond) //nolint:forbidigo // time in the bubble
		w.strike(testUID)
		if w.why() != ipc.QuietTooMany || w.floor(testUID) != protocol.C2 {
			t.Error("three within ten minutes are not")
		}
		if why, _ := w.standing(testUID + 1); why != "" || w.floor(testUID+1) != protocol.C0 {
			t.Error("another user is quiet too")
		}
		time.Sleep(silence - time.Nanosecond) //nolint:forbidigo // time in the bubble
		if w.why() == "" {
			t.Error("the silence is too short")
		}
		time.Sleep(time.Nanosecond) //nolint:forbidigo // time in the bubble
		synctest.Wait()
		if w.why() != "" || w.floor(testUID) != protocol.C2 {
			t.Error("the silence is too long, or the next approval takes no PIN")
		}
		w.calm(testUID)
		if w.floor(testUID) != protocol.C0 {
			t.Error("an approval changes nothing")
		}
		synctest.Wait()
		if len(w.told) != 2 || w.told[0] != ipc.QuietTooMany || w.told[1] != "" {
			t.Errorf("told %q", w.told)
		}
	})
}

func TestMuteEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "b", state.Attention{})
		w.mute(testUID, time.Hour)
		time.Sleep(time.Hour - time.Second) //nolint:forbidigo // time in the bubble
		if w.why() != ipc.QuietMuted || w.muted(testUID) != time.Second || w.floor(testUID) != protocol.C0 {
			t.Errorf("%q for %v", w.why(), w.muted(testUID))
		}
		time.Sleep(time.Second) //nolint:forbidigo // time in the bubble
		synctest.Wait()
		w.mute(testUID, time.Hour)
		synctest.Wait()
		w.mute(testUID, 0)
		synctest.Wait()
		if len(w.told) != 4 || w.why() != "" {
			t.Errorf("told %q, now %q", w.told, w.why())
		}
	})
}

// TestSilenceSurvives goes on in another run of the service, and of the system.
func TestSilenceSurvives(t *testing.T) {
	for boot, name := range map[string]string{"same": "restart", "other": "reboot"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := watch(t, "same", state.Attention{})
				for range maxStrikes {
					before.strike(testUID)
				}
				before.mute(testUID, time.Hour)
				time.Sleep(time.Minute) //nolint:forbidigo // time in the bubble
				before.strike(testUID)
				synctest.Wait()
				stored := before.stored
				if boot == "other" {
					stored.At += 1000 * time.Hour // that boot had lasted longer
					for _, m := range stored.Users {
						move(&m.Silent, 1000*time.Hour)
						move(&m.Muted, 1000*time.Hour)
					}
				}
				began := time.Now()
				clock := func() time.Duration { return stored.At + time.Since(began) }
				if boot == "other" {
					clock = func() time.Duration { return time.Since(began) }
				}
				after := newAttention(clock, boot, stored, before.save, before.log)
				why, left := after.standing(testUID)
				if why != ipc.QuietTooMany || left != silence-time.Minute || after.floor(testUID) != protocol.C2 || after.muted(testUID) != 59*time.Minute {
					t.Errorf("%q for %v, floor %v, muted %v", why, left, after.floor(testUID), after.muted(testUID))
				}
			})
		})
	}
}

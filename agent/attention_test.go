package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// watched is an attention in a bubble of time.
type watched struct {
	*attention
	disk roomy
	mu   sync.Mutex
	told []string
}

func (w *watched) tell(_ uint32, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, why)
}

// heard is all that was told so far.
func (w *watched) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

func watch(t *testing.T, boot string, stored state.Attention) *watched {
	t.Helper()
	began := time.Now()
	w := &watched{}
	w.attention = newAttention(func() time.Duration { return time.Hour + time.Since(began) }, boot, stored, maxMute,
		w.disk.save, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, w.tell)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *watched) muteFor(t *testing.T, d time.Duration) {
	t.Helper()
	if err := w.mute(testUID, d); err != nil {
		t.Error(err)
	}
}

func (w *watched) why() string {
	why, _ := w.standing(testUID)
	return why
}

func TestThreeInTenMinutesAreTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "b", state.Attention{})
		w.strike(testUID)
		_ = upstream.Sleep(t.Context(), strikeWindow)
		w.strike(testUID)
		w.strike(testUID)
		if w.why() != "" || w.floor(testUID) != protocol.C0 {
			t.Error("three in more than ten minutes are too many")
		}
		_ = upstream.Sleep(t.Context(), strikeWindow-time.Nanosecond)
		w.strike(testUID)
		if w.why() != ipc.QuietTooMany || w.floor(testUID) != protocol.C2 {
			t.Error("three within ten minutes are not")
		}
		if why, _ := w.standing(testUID + 1); why != "" || w.floor(testUID+1) != protocol.C0 {
			t.Error("another user is quiet too")
		}
		_ = upstream.Sleep(t.Context(), silence-time.Nanosecond)
		if w.why() == "" {
			t.Error("the silence is too short")
		}
		if w.calm(testUID); w.floor(testUID) != protocol.C2 {
			t.Error("in silence an approval makes the next one cheap")
		}
		_ = upstream.Sleep(t.Context(), time.Nanosecond)
		synctest.Wait()
		if w.why() != "" || w.floor(testUID) != protocol.C2 {
			t.Error("the silence is too long, or the next approval takes no PIN")
		}
		w.calm(testUID)
		if w.floor(testUID) != protocol.C0 {
			t.Error("an approval changes nothing")
		}
		synctest.Wait()
		if told := w.heard(); !slices.Equal(told, []string{ipc.QuietTooMany, ""}) {
			t.Errorf("told %q", told)
		}
	})
}

func TestMuteEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "b", state.Attention{})
		w.muteFor(t, time.Hour)
		_ = upstream.Sleep(t.Context(), time.Hour-time.Second)
		if w.why() != ipc.QuietMuted || w.muted(testUID) != time.Second || w.floor(testUID) != protocol.C0 {
			t.Errorf("%q for %v", w.why(), w.muted(testUID))
		}
		_ = upstream.Sleep(t.Context(), time.Second)
		synctest.Wait()
		w.muteFor(t, time.Hour)
		synctest.Wait()
		w.muteFor(t, 0)
		synctest.Wait()
		if told := w.heard(); len(told) != 4 || w.why() != "" {
			t.Errorf("told %q, now %q", told, w.why())
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
				before.muteFor(t, time.Hour)
				_ = upstream.Sleep(t.Context(), time.Minute)
				before.strike(testUID)
				synctest.Wait()
				stored := before.disk.all()
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
				after := newAttention(clock, boot, stored, maxMute, before.save, before.log)
				why, left := after.standing(testUID)
				if why != ipc.QuietTooMany || left != silence-time.Minute || after.floor(testUID) != protocol.C2 || after.muted(testUID) != 59*time.Minute {
					t.Errorf("%q for %v, floor %v, muted %v", why, left, after.floor(testUID), after.muted(testUID))
				}
			})
		})
	}
}

// TestAnotherTimeIsTold mutes for longer, and for less, than before.
func TestAnotherTimeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "b", state.Attention{})
		for i, d := range []time.Duration{time.Hour, 2 * time.Hour, time.Minute} {
			w.muteFor(t, d)
			synctest.Wait()
			if told := w.heard(); len(told) != i+1 || told[i] != ipc.QuietMuted {
				t.Errorf("muted for %v: told %q", d, told)
			}
		}
		_ = upstream.Sleep(t.Context(), time.Minute)
		synctest.Wait()
		if told := w.heard(); len(told) != 4 || told[3] != "" {
			t.Errorf("when it ends: told %q", told)
		}
	})
}

// roomy keeps moods where there is room.
type roomy struct {
	mu     sync.Mutex
	full   bool
	stored state.Attention
}

func (r *roomy) save(a state.Attention) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return syscall.ENOSPC
	}
	r.stored = a
	return nil
}

func (r *roomy) fill(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = full
}

func (r *roomy) all() state.Attention {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored
}

// of is what is stored of a user.
func (r *roomy) of(uid uint32) *state.Mood { return r.all().Users[uid] }

// TestSilenceIsStoredInTheEnd fills the disk for a while, and stops the service
// at once after a change.
func TestSilenceIsStoredInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &roomy{full: true}
		w := newAttention(BootTime, "b", state.Attention{}, maxMute, disk.save, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.run(ctx, func(uint32, string) {})
		w.strike(testUID)
		synctest.Wait()
		if disk.of(testUID) != nil {
			t.Fatal("a full disk takes it")
		}
		disk.fill(false)
		_ = upstream.Sleep(t.Context(), time.Minute)
		synctest.Wait()
		if disk.of(testUID) == nil {
			t.Error("what a full disk did not take is not stored later")
		}
		cancel()
		w.strike(testUID + 1)
		synctest.Wait()
		if disk.of(testUID+1) == nil {
			t.Error("what changed last is not stored at the end")
		}
	})
}

// TestMuteIsDurableOrRefused asks without a run that would store it later.
func TestMuteIsDurableOrRefused(t *testing.T) {
	disk := &roomy{}
	w := newAttention(func() time.Duration { return time.Hour }, "b", state.Attention{}, maxMute, disk.save, slog.New(slog.DiscardHandler))
	if err := w.mute(testUID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if m := disk.of(testUID); m == nil || m.Muted != 2*time.Hour {
		t.Errorf("stored %+v", m)
	}
	disk.fill(true)
	if err := w.mute(testUID, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	if got := w.muted(testUID); got != time.Hour {
		t.Errorf("what was refused changed the time to %v", got)
	}
}

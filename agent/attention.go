package agent

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

// Who is asked too often answers without reading. After maxStrikes requests that
// were denied here, or ended without an approval here, within strikeWindow,
// nobody is prompted for the time of silence, and approving takes the PIN until
// something is approved. That holds against a lying server too: it counts how
// requests ended on this device and not what the server says became of them.
const (
	maxStrikes   = 3
	strikeWindow = 10 * time.Minute
	silence      = 20 * time.Minute
	// maxMute is the longest that prompts can be muted.
	maxMute = 24 * time.Hour
)

// attention knows for whom nobody is to be prompted. It limits prompting alone:
// what a person decides by themselves is never held back. Every method but run
// and those that store returns at once.
type attention struct {
	now    func() time.Duration
	bootID string
	save   func(state.Attention) error
	log    *slog.Logger
	woken  chan struct{}
	// saving is held while the moods are written, so that what is on disk is what
	// came last. Nobody waits for it who holds mu.
	saving sync.Mutex

	mu    sync.Mutex // guards the rest
	users map[uint32]*state.Mood
	dirty bool
	told  map[uint32]quietness // what run told last
	// lost says that what was stored cannot be read: nobody is taken for rested.
	lost bool
}

// quietness is why nobody is prompted, one of ipc's Quiet constants, and until
// when; the zero value where somebody is.
type quietness struct {
	why   string
	until time.Duration
}

// newAttention takes up what was stored. Prompts stay muted for most at most: the
// policy may have become stricter.
func newAttention(now func() time.Duration, bootID string, stored state.Attention, most time.Duration, save func(state.Attention) error, log *slog.Logger) *attention {
	t := &attention{
		now: now, bootID: bootID, save: save, log: log, woken: make(chan struct{}, 1),
		users: stored.Users, told: map[uint32]quietness{},
	}
	if t.users == nil {
		t.users = map[uint32]*state.Mood{}
	}
	if stored.BootID != bootID {
		// The clock began anew. What was left of a silence is left still: to
		// restart the computer is no way around it.
		by := now() - stored.At
		for _, m := range t.users {
			move(&m.Silent, by)
			move(&m.Muted, by)
			for i := range m.Strikes {
				move(&m.Strikes[i], by)
			}
		}
	}
	for _, m := range t.users {
		m.Muted = min(m.Muted, now()+most)
	}
	return t
}

func move(t *time.Duration, by time.Duration) {
	if *t != 0 {
		*t += by
	}
}

// bootID names the present run of the system.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// mood expects t.mu held.
func (t *attention) mood(uid uint32) *state.Mood {
	m := t.users[uid]
	if m == nil {
		m = &state.Mood{Cautious: t.lost}
		t.users[uid] = m
	}
	return m
}

// change changes a user's mood, which run then stores and tells.
func (t *attention) change(uid uint32, f func(*state.Mood)) {
	t.mu.Lock()
	f(t.mood(uid))
	t.dirty = true
	t.mu.Unlock()
	poke(t.woken)
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// strike counts a request that was denied or left without an answer.
func (t *attention) strike(uid uint32) {
	now := t.now()
	t.change(uid, func(m *state.Mood) {
		m.Strikes = slices.DeleteFunc(m.Strikes, func(at time.Duration) bool { return at <= now-strikeWindow })
		m.Strikes = append(m.Strikes, now)
		if len(m.Strikes) >= maxStrikes {
			*m = state.Mood{Silent: now + silence, Muted: m.Muted, Cautious: true}
		}
	})
}

// calm forgets what was counted: somebody who approves is at it and reads. While
// there is silence, that takes the PIN still.
func (t *attention) calm(uid uint32) {
	now := t.now()
	t.change(uid, func(m *state.Mood) {
		*m = state.Mood{Silent: m.Silent, Muted: m.Muted, Cautious: m.Cautious && m.Silent > now}
	})
}

// mute mutes a user's prompts for a time, 0 for not any more. It is durable when
// mute returns; where it cannot be, nothing has changed.
func (t *attention) mute(uid uint32, d time.Duration) error {
	var until, before time.Duration
	if d > 0 {
		until = t.now() + d
	}
	t.change(uid, func(m *state.Mood) { before, m.Muted = m.Muted, until })
	err := t.store()
	if err != nil {
		t.change(uid, func(m *state.Mood) {
			if m.Muted == until {
				m.Muted = before
			}
		})
	}
	return err
}

// standing is why a user is not prompted now, and for how long yet; "" where
// they are.
func (t *attention) standing(uid uint32) (why string, left time.Duration) {
	q := t.quiet(uid)
	if q.why == "" {
		return "", 0
	}
	return q.why, max(0, q.until-t.now())
}

// quiet is what standing is made of, with a time that stays the same.
func (t *attention) quiet(uid uint32) quietness {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.quietAt(uid, t.now())
}

// quietAt expects t.mu held. A silence that the user did not ask for comes
// first: to mute does not shorten it.
func (t *attention) quietAt(uid uint32, now time.Duration) quietness {
	m := t.users[uid]
	switch {
	case m == nil:
	case m.Silent > now:
		return quietness{ipc.QuietTooMany, m.Silent}
	case m.Muted > now:
		return quietness{ipc.QuietMuted, m.Muted}
	}
	return quietness{}
}

// muted is for how long yet the user's own silence lasts.
func (t *attention) muted(uid uint32) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.users[uid]; m != nil {
		return max(0, m.Muted-t.now())
	}
	return 0
}

// floor is the least class that an approval of this user takes.
func (t *attention) floor(uid uint32) protocol.Class {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mood(uid).Cautious {
		return protocol.C2
	}
	return protocol.C0
}

// run stores what changes, and tells of each user who begins or ceases to be
// quiet, or is so until another time, until ctx ends. What changed last is stored
// then too.
func (t *attention) run(ctx context.Context, tell func(uid uint32, why string)) {
	defer t.keep()
	for ctx.Err() == nil {
		changed, next := t.look()
		if !t.keep() {
			next = min(next, time.Minute)
		}
		for uid, why := range changed {
			tell(uid, why)
		}
		doze(ctx, next, t.woken)
	}
}

// look returns whose quiet is another than was told, and how long it takes until
// that may be so again: forever where nobody is quiet. Timers stand still in
// suspend, so it is else never long.
func (t *attention) look() (changed map[uint32]string, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	changed, next = map[uint32]string{}, forever
	for uid := range t.users {
		q := t.quietAt(uid, now)
		if t.told[uid] != q {
			changed[uid], t.told[uid] = q.why, q
		}
		if q.why != "" {
			next = min(next, q.until-now, time.Minute)
		}
	}
	return changed, next
}

// store writes the moods where they have changed. What cannot be written counts
// as changed still.
func (t *attention) store() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	stored, dirty := t.snapshot(t.now()), t.dirty
	t.dirty = false
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	err := t.save(stored)
	if err != nil {
		t.mu.Lock()
		t.dirty = true
		t.mu.Unlock()
	}
	return err
}

// keep stores for run, which tries again soon where it reports false.
func (t *attention) keep() bool {
	err := t.store()
	if err != nil {
		t.log.Error("who is not to be prompted is not stored yet", "error", err)
	}
	return err == nil
}

// snapshot expects t.mu held.
func (t *attention) snapshot(now time.Duration) state.Attention {
	out := state.Attention{BootID: t.bootID, At: now, Users: map[uint32]*state.Mood{}}
	for uid, m := range t.users {
		c := *m
		c.Strikes = slices.Clone(m.Strikes)
		out.Users[uid] = &c
	}
	return out
}

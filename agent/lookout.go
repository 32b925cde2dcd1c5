package agent

import (
	"context"
	"sync"
	"time"

	"countersign/ipc"
)

// statusGlance is how long the answer to "how are you" waits for a chip. A chip
// that works answers sooner; of one that hangs the caller learns what was last
// known of it.
const statusGlance = 120 * time.Millisecond

// notSeen is told until the chips have answered, or failed to, once.
const notSeen = "the security chip has not answered yet"

// lookouts remember what did not work when the chips were last asked, by who
// wanted to know. One question of each is under way at a time, so that callers
// who come often leave the chip to those who sign.
type lookouts struct {
	mu   sync.Mutex // held for map and field access only
	seen map[uint32]*lookout
}

type lookout struct {
	reasons []string
	// looking is closed when the question under way is answered; nil where
	// there is none.
	looking chan struct{}
}

// glimpse is degraded for callers who do not wait.
func (a *Agent) glimpse(ctx context.Context, s ipc.Scope) []string {
	ctx, cancel := context.WithTimeout(ctx, statusGlance)
	defer cancel()
	select {
	case <-a.lookouts.look(s.Peer.UID, func() []string { return a.degraded(context.WithoutCancel(ctx), s) }):
	case <-ctx.Done():
	}
	return a.lookouts.last(s.Peer.UID)
}

// look begins to look, unless somebody does already, and returns what is closed
// when that is done.
func (l *lookouts) look(uid uint32, look func() []string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[uint32]*lookout{}
	}
	if l.seen[uid] == nil {
		l.seen[uid] = &lookout{reasons: []string{notSeen}}
	}
	o := l.seen[uid]
	if o.looking != nil {
		return o.looking
	}
	done := make(chan struct{})
	o.looking = done
	go func() {
		reasons := look()
		l.mu.Lock()
		defer l.mu.Unlock()
		o.reasons, o.looking = reasons, nil
		close(done)
	}()
	return done
}

func (l *lookouts) last(uid uint32) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[uid].reasons
}

// examine waits for the caller's turn to have the chips or the whole log looked at,
// which the handler gives back: nobody has that done so often at once that those who
// sign wait for it.
func (a *Agent) examine(ctx context.Context, s ipc.Scope) (give func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*chipTimeout)
	defer cancel()
	return a.examining.take(ctx, s.Peer.UID)
}

// turns let each user do a thing once at a time. The zero value is ready.
type turns struct {
	mu    sync.Mutex // held for map access only
	taken map[uint32]chan struct{}
}

// take waits for a user's turn, which the caller gives back, or for ctx.
func (t *turns) take(ctx context.Context, uid uint32) (give func(), err error) {
	t.mu.Lock()
	if t.taken == nil {
		t.taken = map[uint32]chan struct{}{}
	}
	if t.taken[uid] == nil {
		t.taken[uid] = make(chan struct{}, 1)
	}
	turn := t.taken[uid]
	t.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ipc.Errorf(ipc.CodeBusy, "wait, and try again", "this is being looked at for you already")
	}
}

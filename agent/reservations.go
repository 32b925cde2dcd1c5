package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
)

// sweepEvery is how often leftovers in a chip are looked for. What a broken
// enrollment left is gone within twice this time.
const sweepEvery = 5 * time.Minute

// releaseWait bounds the removal of one leftover.
const releaseWait = 30 * time.Second

// reservations journals what chips are about to hold for keys under way, and
// removes what nobody works on any more. It asks a chip to remove only what
// that chip's own back end reserved here.
type reservations struct {
	dir   *state.Dir
	chips chips
	log   *slog.Logger
	// frozen stops the sweeper: an enrollment that cannot be read may need
	// what was reserved for it. It is set before sweep and not after.
	frozen bool
	wake   chan struct{}

	mu sync.Mutex // guards the two below; held for map access only
	// alive are the names that somebody works on. One is added before its file
	// is written, and taken out after the file is removed.
	alive map[string]bool
	// reported are those that were logged as waiting for a person.
	reported map[string]bool
}

func newReservations(dir *state.Dir, c chips, log *slog.Logger) *reservations {
	return &reservations{
		dir: dir, chips: c, log: log, wake: make(chan struct{}, 1),
		alive: map[string]bool{}, reported: map[string]bool{},
	}
}

// hold keeps the sweeper off these names.
func (r *reservations) hold(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.alive[name] = true
	}
}

func (r *reservations) held(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive[name]
}

// drop leaves these names to the sweeper.
func (r *reservations) drop(names ...string) {
	r.mu.Lock()
	for _, name := range names {
		delete(r.alive, name)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// reserve makes a reservation durable, held, and returns its name. A caller
// whose keys have become durable calls settle; one that failed calls drop.
func (r *reservations) reserve(res state.Reservation) (string, error) {
	res.Name, res.At = strings.ToLower(rand.Text()), time.Now().UTC()
	r.hold(res.Name)
	if err := r.dir.Reserve(res); err != nil {
		r.drop(res.Name)
		return "", err
	}
	return res.Name, nil
}

// settle forgets reservations whose keys are durable.
func (r *reservations) settle(names []string) error {
	for _, name := range names {
		if err := r.dir.Unreserve(name); err != nil {
			return err
		}
	}
	r.drop(names...)
	return nil
}

// orphan journals a key that was made and will not be used. Whoever calls it
// deletes the key no more: the sweeper does, or a person.
func (r *reservations) orphan(provider string, uid uint32, reference []byte) error {
	name, err := r.reserve(state.Reservation{Provider: provider, UID: uid, Key: reference})
	if err == nil {
		r.drop(name)
	}
	return err
}

// sweep removes leftovers: at once, whenever one is dropped, and as often as
// sweepEvery says, until ctx ends.
func (r *reservations) sweep(ctx context.Context) {
	if r.frozen {
		return
	}
	for ctx.Err() == nil {
		r.sweepOnce(ctx)
		doze(ctx, sweepEvery, r.wake)
	}
}

func (r *reservations) sweepOnce(ctx context.Context) {
	list, err := r.dir.Reservations()
	if err != nil {
		r.log.Error("some reservations cannot be read", "error", err)
	}
	for _, res := range list {
		// A name that is held no more was settled, and then its file is gone,
		// or is dead. So the file is looked at last.
		if r.held(res.Name) || !r.dir.Reserved(res.Name) {
			continue
		}
		err := r.remove(ctx, res, hsm.Auth{})
		if err == nil {
			r.log.Info("leftover of a broken enrollment removed", "reservation", res.Name, "provider", res.Provider)
			continue
		}
		r.report(res, err)
	}
}

// remove removes a leftover from its chip, and then forgets it.
func (r *reservations) remove(ctx context.Context, res state.Reservation, auth hsm.Auth) error {
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	p := r.chips.named(res.Provider)
	var err error
	reclaimer, can := p.(hsm.Reclaimer)
	switch {
	case len(res.Key) > 0:
		err = deleteKey(ctx, p, res.Key, auth)
	case can && !auth.PIN.Empty():
		err = onChip(p.Name(), reclaimer.Reclaim(ctx, res.Data, auth))
	default:
		err = onChip(p.Name(), p.Release(ctx, res.Data))
	}
	if err != nil {
		return err
	}
	return r.dir.Unreserve(res.Name)
}

// report logs once that a leftover stays, and waits for whom.
func (r *reservations) report(res state.Reservation, err error) {
	r.mu.Lock()
	known := r.reported[res.Name]
	r.reported[res.Name] = true
	r.mu.Unlock()
	if known {
		return
	}
	if errors.Is(err, hsm.ErrPINRequired) || errors.Is(err, hsm.ErrAdminRequired) {
		r.log.Warn("leftover of a broken enrollment takes a person to remove", "reservation", res.Name, "provider", res.Provider, "error", err)
		return
	}
	r.log.Warn("leftover of a broken enrollment not removed yet", "reservation", res.Name, "provider", res.Provider, "error", err)
}

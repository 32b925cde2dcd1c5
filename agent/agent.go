// Package agent is the core of the service: it enrolls, receives approval
// requests, keeps them until a person decides, has the hardware sign what was
// decided, and delivers it exactly once.
//
// It owns the keys, and callers own consent: a decision is made only on an
// answer that came over the local API from a process of the profile's owner,
// about the very bytes that were shown. Silence is never an answer. Nothing a
// server sends can lower a class, extend a lifetime or change shown text.
//
// The agent fails closed: what it cannot verify it drops and logs, what it
// cannot store it does not send, and without the chip it signs nothing.
package agent

import (
	"context"
	"log/slog"
	"sync"

	"countersign/agent/audit"
	"countersign/agent/metrics"
	"countersign/agent/policy"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/protocol"
)

// Config is all an Agent is made of. Every field is required unless it says
// otherwise.
type Config struct {
	Version string
	// Mode is "system" or "user"; a service in system mode runs under a uid
	// of its own.
	Mode  string
	State *state.Dir
	// Providers make and keep the keys. The first is used where an enrollment
	// names none.
	Providers []hsm.Provider
	// Audit takes what is recorded for good.
	Audit *audit.Log
	Log   *slog.Logger
	// TimeZone is the IANA name that display records are rendered with.
	TimeZone string
	// Policy is what the administrator allows. The zero value locks nothing.
	Policy policy.Policy
	// Metrics is where counts are written; nil is nowhere.
	Metrics *metrics.File
	// Verifiers are how people are verified where a method of the protocol asks
	// for more than a number and less than the PIN, by that method. Where there
	// is none, or it is not available, the PIN takes its place.
	Verifiers map[string]Means
	// Fleet is what this computer belongs to.
	Fleet Fleet
	// Network is how servers are reached. Its zero value goes by the environment.
	Network upstream.Network
	// Bus says whether the system's message bus can be reached; nil where nobody
	// needs it.
	Bus func(context.Context) error
}

// Agent serves the profiles of one state directory.
type Agent struct {
	cfg       Config
	chips     chips
	pending   *pending
	attention *attention
	events    *hub
	reserved  *reservations
	lookouts  lookouts
	// examining is for whom chips, profiles or the log are being looked at all over.
	examining turns
	limits    limits
	machine   *machine
	counts    *counts
	// availability is who can be verified how.
	availability availability
	// unfinished are the enrollments that the last run left. They are read
	// before anybody can begin another, so that each has one that goes on
	// with it.
	unfinished []*state.Enrollment

	mu       sync.Mutex // guards the two below; held only for map access
	profiles map[string]*profile
	start    func(func(context.Context)) // runs a worker; nil before Run
}

// New reads the state directory. It does not touch the chip or the network.
func New(cfg Config) (*Agent, error) {
	a := &Agent{cfg: cfg, chips: cfg.Providers, events: newHub(), limits: newLimits(), counts: newCounts(), profiles: map[string]*profile{}}
	a.reserved = newReservations(cfg.State, a.chips, cfg.Log)
	a.machine = newMachine(a, cfg.Fleet)
	a.pending = newPending(BootTime, a.publish)
	moods, err := cfg.State.Attention()
	if err != nil {
		cfg.Log.Error("who was not to be prompted cannot be read: everybody's next approval takes the PIN", "error", err)
	}
	a.attention = newAttention(BootTime, bootID(), moods, cfg.Policy.Mute(maxMute), cfg.State.SaveAttention, cfg.Log)
	a.attention.lost = err != nil
	a.pending.ignored = a.attention.strike
	a.pending.ended = a.counts.endedRequest
	a.pending.quiet = func(uid uint32) string { why, _ := a.attention.standing(uid); return why }
	stored, err := cfg.State.Profiles()
	if err != nil {
		// One damaged profile must not take the others with it.
		cfg.Log.Error("some profiles cannot be read", "error", err)
		// Their keys may be new, and still under a reservation.
		a.reserved.frozen = true
	}
	for _, s := range stored {
		if err := a.load(s); err != nil {
			cfg.Log.Error("a profile cannot be used", "profile", s.ID, "error", err)
			a.reserved.frozen = true
		}
	}
	if a.unfinished, err = cfg.State.Enrollments(); err != nil {
		cfg.Log.Error("some unfinished enrollments cannot be read", "error", err)
		// They may need what was reserved for them.
		a.reserved.frozen = true
	}
	for _, e := range a.unfinished {
		a.reserved.hold(e.Reserved...)
	}
	return a, nil
}

func (a *Agent) load(s state.Profile) error {
	entries, err := a.cfg.State.Entries(s.ID)
	if err != nil {
		return err
	}
	p, err := newProfile(a, s, entries)
	if err != nil {
		return err
	}
	for _, e := range entries {
		req, err := protocol.ParseRequest(e.Request, p.keysOfHistory())
		if err != nil {
			// The request would be refused if it came again, so nobody decides
			// on it twice. The decision itself is delivered all the same.
			a.cfg.Log.Warn("a decided request cannot be shown", "profile", s.ID, "decision", e.Seq, "error", err)
			continue
		}
		a.pending.restore(s.ID, s.UID, req, e)
	}
	if err := p.loadRenewals(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.profiles[s.ID] = p
	return nil
}

// Run receives, delivers and expires until ctx ends. It returns nil then.
func (a *Agent) Run(ctx context.Context) error {
	a.note(audit.Event{Kind: recordStarted, Detail: map[string]string{"version": a.cfg.Version}})
	var workers sync.WaitGroup
	start := func(work func(context.Context)) { workers.Go(func() { work(ctx) }) }
	a.mu.Lock()
	a.start = start
	for _, p := range a.profiles {
		start(p.run)
	}
	a.mu.Unlock()
	for _, e := range a.unfinished {
		start(func(ctx context.Context) { a.resumeEnrollment(ctx, e) })
	}
	start(a.machine.run)
	start(a.pending.expire)
	start(func(ctx context.Context) { a.attention.run(ctx, a.moodChanged) })
	start(a.reserved.sweep)
	start(a.exportMetrics)
	<-ctx.Done()
	a.mu.Lock()
	a.start = func(func(context.Context)) {}
	a.mu.Unlock()
	workers.Wait()
	a.note(audit.Event{Kind: recordStopped})
	return nil
}

// launch runs work until the agent ends.
func (a *Agent) launch(work func(context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.start != nil {
		a.start(work)
	}
}

// profile finds a profile by its id.
func (a *Agent) profile(id string) (*profile, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.profiles[id]
	return p, ok
}

// all lists the profiles, oldest first.
func (a *Agent) all() []*profile {
	a.mu.Lock()
	list := make([]*profile, 0, len(a.profiles))
	for _, p := range a.profiles {
		list = append(list, p)
	}
	a.mu.Unlock()
	sortProfiles(list)
	return list
}

// forget takes a profile out of the agent, and ends its work.
func (a *Agent) forget(p *profile) {
	p.retire()
	id := p.get().ID
	a.mu.Lock()
	delete(a.profiles, id)
	a.mu.Unlock()
	a.pending.clear(id, false)
	a.machine.poke()
}

package agent

import (
	"context"
	"errors"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
)

// over does what is left when the server has ended the enrollment. What its owner
// wanted to end goes, and so does what the same person has enrolled anew here;
// everything else stays for its owner to see.
func (p *profile) over(ctx context.Context) {
	p.endRenewals(ctx)
	if s := p.get(); s.Leaving || p.agent.replacedHere(s) {
		p.clearAway(ctx)
	}
}

// replacedHere reports whether the device that took the place of this one is this
// one, enrolled anew by the same user.
func (a *Agent) replacedHere(s state.Profile) bool {
	for _, p := range a.all() {
		if n := p.get(); s.Successor != "" && n.Device == s.Successor && n.UID == s.UID {
			return true
		}
	}
	return false
}

// clearReplaced clears away what a new profile has replaced on this device, as far
// as the server has said so by now; over does the rest.
func (a *Agent) clearReplaced(ctx context.Context, s state.Profile) {
	for _, p := range a.all() {
		if old := p.get(); old.State == state.Revoked && old.Successor == s.Device && old.UID == s.UID {
			p.clearAway(ctx)
		}
	}
}

// clearAway removes a profile that is over without anybody's help, until it is
// gone or ctx ends. A key that takes a person goes into the journal.
func (p *profile) clearAway(ctx context.Context) {
	if !p.leaving.CompareAndSwap(false, true) {
		return // somebody is at it
	}
	defer p.leaving.Store(false)
	p.retire()
	var backoff upstream.Backoff
	for ctx.Err() == nil {
		err := p.clear(ctx, hsm.Auth{})
		if errors.Is(err, hsm.ErrPINRequired) || errors.Is(err, hsm.ErrAdminRequired) {
			err = p.leaveKeys()
		}
		if err == nil {
			p.agent.note(ended(p))
			return
		}
		pause := backoff.Pause()
		p.agent.cfg.Log.Warn("profile not cleared away yet", "profile", p.get().ID, "error", err, "again_in", pause)
		_ = upstream.Sleep(ctx, pause)
	}
}

// leaveKeys leaves the keys to the list of what takes a person.
func (p *profile) leaveKeys() error {
	for _, k := range []*lazyKey{p.device(), p.approval()} {
		if err := p.agent.reserved.orphan(k.facts.Provider, p.get().UID, k.reference); err != nil {
			return err
		}
	}
	return p.drop()
}

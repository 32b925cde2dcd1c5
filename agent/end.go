package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
)

const (
	// drainWait is how long the end of an enrollment waits for decisions that are
	// not delivered yet.
	drainWait = 10 * time.Second
	// endWait bounds the whole of it, whether or not the caller still waits.
	endWait = 2 * time.Minute
)

func (a *Agent) postEnd(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodeEnd(r)
	if err != nil {
		return nil, err
	}
	defer in.PIN.Wipe()
	defer in.Admin.Wipe()
	// Half an end helps nobody: it goes on without its caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endWait)
	defer cancel()
	out, err := a.end(ctx, s, r.PathValue("profile"), in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// reasonUntold is that of a profile which was ended here alone.
const reasonUntold = "left, and the server has not been told"

// end ends an enrollment: the server is told, then the keys go, then all that is
// stored. Stopped anywhere, it leaves a profile that works or, after the next
// contact with the server, none.
func (a *Agent) end(ctx context.Context, s ipc.Scope, name string, in ipc.End) (ipc.Ended, error) {
	p, err := a.resolve(s, name)
	if err != nil {
		return ipc.Ended{}, err
	}
	if !p.leaving.CompareAndSwap(false, true) {
		return ipc.Ended{}, ipc.Errorf(ipc.CodeBusy, "wait, and see: countersign profiles", "this enrollment is being ended")
	}
	defer p.leaving.Store(false)
	release, err := p.claimSlots(in.Force)
	if err != nil {
		return ipc.Ended{}, err
	}
	defer release()
	if err := p.finish(ctx, in.Force); err != nil {
		return ipc.Ended{}, told(serverError(err), err)
	}
	p.halt()
	out := ipc.Ended{Profile: p.get().ID, Account: p.account(), ServerTold: p.get().Reason != reasonUntold}
	if err := p.clear(ctx, hsm.Auth{PIN: in.PIN, Admin: in.Admin}); err != nil {
		return ipc.Ended{}, told(chipError(err), err)
	}
	a.note(ended(p))
	return out, nil
}

// claimSlots keeps new keys from being made. One that is being made would be left
// in its chip; one whose old key is not given back yet is waited for, unless by
// force.
func (p *profile) claimSlots(force bool) (release func(), err error) {
	var mine []*keySlot
	release = func() {
		for _, slot := range mine {
			slot.changing.Store(false)
		}
	}
	for _, slot := range p.slots() {
		if slot.changing.CompareAndSwap(false, true) {
			mine = append(mine, slot)
		} else if !force || !slot.settling.Load() {
			release()
			return nil, errChanging()
		}
	}
	return release, nil
}

// finish has the enrollment over, durably: at the server too or, by force, here.
func (p *profile) finish(ctx context.Context, force bool) error {
	reason := ""
	if p.get().State != state.Revoked {
		reason = "left"
		err := p.leave(ctx)
		if err != nil && !force {
			return err
		}
		if err != nil {
			p.agent.cfg.Log.Warn("enrollment ended without the server", "profile", p.get().ID, "error", err)
			reason = reasonUntold
		}
	}
	return p.markOver(reason)
}

// leave has the server end the enrollment. While it may have done so unheard, the
// profile is marked: what the server says next decides.
func (p *profile) leave(ctx context.Context) error {
	client := p.clientNow()
	if client == nil && p.locked() != nil {
		// This is the one thing that a profile which is held off is let to say.
		var err error
		if client, err = p.connect(ctx); err != nil {
			return err
		}
		defer client.Close()
	}
	if client == nil {
		return errors.Join(upstream.ErrUnreachable, errNeverReached)
	}
	if err := p.deliverAll(ctx); err != nil {
		return err
	}
	if err := p.setLeaving(true); err != nil {
		return err
	}
	err := retry(ctx, func() error { return client.Leave(ctx) })
	if _, final := upstream.Final(err); err == nil || final {
		return nil
	}
	if _, ok := asProblem(err); ok {
		return errors.Join(err, p.setLeaving(false))
	}
	return err
}

// deliverAll waits until the server has every decision.
func (p *profile) deliverAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	if p.outbox.drained(ctx) == nil {
		return nil
	}
	return ipc.Errorf(ipc.CodeUndelivered, "wait until the server is reached; --force gives them up", "decisions of yours have not reached the server yet")
}

// setLeaving remembers, durably, that the owner wants the enrollment to end.
func (p *profile) setLeaving(leaving bool) error {
	return p.update(func(s *state.Profile) { s.Leaving = leaving })
}

// stay takes it back, when the server goes on with the enrollment.
func (p *profile) stay() {
	if s := p.get(); !s.Leaving || s.State == state.Revoked {
		return
	}
	if err := p.setLeaving(false); err != nil {
		p.agent.cfg.Log.Error("profile not saved", "profile", p.get().ID, "error", err)
	}
}

// markOver records, durably, that nothing of the profile is to stay.
func (p *profile) markOver(reason string) error {
	return p.update(func(s *state.Profile) {
		if s.State != state.Revoked {
			s.State, s.Reason = state.Revoked, reason
		}
		s.Leaving = true
	})
}

// clear removes the keys of a profile that is over and nobody works on, and
// forgets it. It may be repeated.
func (p *profile) clear(ctx context.Context, auth hsm.Auth) error {
	p.endRenewals(ctx)
	ctx, cancel := context.WithTimeout(ctx, 2*signWait)
	defer cancel()
	for _, k := range []*lazyKey{p.device(), p.approval()} {
		if err := k.Delete(ctx, auth); err != nil {
			return err
		}
	}
	return p.drop()
}

// drop forgets a profile whose keys are gone, or in the journal.
func (p *profile) drop() error {
	s := p.get()
	p.agent.forget(p)
	p.agent.cfg.Log.Info("profile forgotten, its keys deleted", "profile", s.ID)
	return p.agent.cfg.State.RemoveProfile(s.ID)
}

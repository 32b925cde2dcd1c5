package agent

import (
	"context"
	"errors"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/protocol"
)

// renewal is a new key at work, whose old one is not given back yet.
type renewal struct {
	*state.Renewal
	// stored says that the profile's own files have the new key.
	stored bool
	done   chan struct{}
}

// acknowledgeWait is how long who renews a key waits for the old one's end.
const acknowledgeWait = 5 * time.Second

// wait waits a while for the end, which comes also when nobody waits, and
// reports whether it has come.
func (r *renewal) wait(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, acknowledgeWait)
	defer cancel()
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// adopt makes a certified key the profile's, durably, and in the same moment for
// whoever signs and connects. With an error it is not.
func (p *profile) adopt(slot *keySlot, r *state.Renewal) (*renewal, error) {
	s := p.get()
	key, err := newLazyKey(slot.current.Load().provider, r.Facts, r.Key, unblob(r.Renewed.Chain))
	if err != nil {
		return nil, err
	}
	if err := p.agent.cfg.State.SaveRenewal(s.ID, r); err != nil {
		// It may be on disk all the same, and then the new key must live.
		if undone := p.agent.cfg.State.RemoveRenewal(s.ID, r.Role); undone == nil {
			return nil, err
		}
	}
	out := &renewal{Renewal: r, done: make(chan struct{})}
	if err := p.storeRenewal(out); err != nil {
		p.agent.cfg.Log.Error("new key not stored yet", "profile", s.ID, "error", err)
	}
	slot.current.Store(key)
	p.agent.cfg.Log.Info("key renewed", "profile", s.ID, "role", r.Role, "attested", r.Renewed.Attestation.Attested)
	p.agent.note(renewed(p, slot))
	slot.hand(out)
	return out, nil
}

// storeRenewal writes a saved renewal into the profile. It may be repeated.
func (p *profile) storeRenewal(r *renewal) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if r.stored {
		return nil
	}
	s := p.get()
	err := p.agent.cfg.State.CompleteRenewal(&s, r.Renewal)
	r.stored = err == nil
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored.Keys = s.Keys
	p.stored.DeviceKey, p.stored.DeviceChain = s.DeviceKey, s.DeviceChain
	p.stored.ApprovalKey, p.stored.ApprovalChain = s.ApprovalKey, s.ApprovalChain
	p.stored.Verdict, p.stored.Unattested = s.Verdict, s.Unattested
	return err
}

// loadRenewals takes up what the last run has left. The new keys are durable, so
// the sweeper must not take them for leftovers.
func (p *profile) loadRenewals() error {
	for _, slot := range p.slots() {
		r, err := p.agent.cfg.State.Renewal(p.get().ID, slot.role)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		p.agent.reserved.hold(r.Reserved...)
		slot.changing.Store(true)
		slot.hand(&renewal{Renewal: r, stored: true, done: make(chan struct{})}) // by whoever read the profile
	}
	return nil
}

// settleRenewals brings one renewal of a key after the other to its end, until ctx
// ends.
func (p *profile) settleRenewals(ctx context.Context, client *upstream.Client, slot *keySlot) {
	for ctx.Err() == nil {
		select {
		case r := <-slot.renewed:
			if slot.role == protocol.RoleDevice {
				client.Authenticate(p.certificate(ctx))
			}
			p.settleRenewal(ctx, client, slot, r)
		case <-ctx.Done():
		}
	}
}

func (p *profile) settleRenewal(ctx context.Context, client *upstream.Client, slot *keySlot, r *renewal) {
	log := p.agent.cfg.Log.With("profile", p.get().ID, "role", slot.role)
	var backoff upstream.Backoff
	for ctx.Err() == nil {
		err := p.acknowledge(ctx, client, r)
		if err == nil {
			log.Info("renewal of a key done")
			close(r.done)
			slot.done()
			return
		}
		pause := backoff.Pause()
		log.Warn("renewal goes on later", "error", err, "again_in", pause)
		_ = upstream.Sleep(ctx, pause)
	}
	slot.renewed <- r // for endRenewals
}

// acknowledge tells the server that the new key is kept, as soon as it has
// answered whatever the old one signed, and gives the old key back to its chip.
// Each step may be repeated. Where the server has ended the enrollment there is
// nobody left to tell.
func (p *profile) acknowledge(ctx context.Context, client *upstream.Client, r *renewal) error {
	if err := p.agent.reserved.settle(r.Reserved); err != nil {
		return err
	}
	if err := p.storeRenewal(r); err != nil {
		return err
	}
	if err := p.outbox.drained(ctx); err != nil {
		return err
	}
	err := client.AcknowledgeRenewal(ctx, r.ID)
	if _, final := upstream.Final(err); err != nil && !final {
		return err
	}
	return p.giveBack(ctx, r.Renewal)
}

// giveBack removes the old key from its chip and forgets the renewal. Where the
// chip does not let it go now, the sweeper tries again.
func (p *profile) giveBack(ctx context.Context, r *state.Renewal) error {
	s := p.get()
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	if err := deleteKey(ctx, p.agent.chips.named(r.Facts.Provider), r.Old, hsm.Auth{}); err != nil {
		p.agent.cfg.Log.Warn("old key not deleted yet", "profile", s.ID, "role", r.Role, "error", err)
		if err := p.agent.reserved.orphan(r.Facts.Provider, s.UID, r.Old); err != nil {
			return err
		}
	}
	return p.agent.cfg.State.RemoveRenewal(s.ID, r.Role)
}

// endRenewals ends what renewals there are of a profile that is over.
func (p *profile) endRenewals(ctx context.Context) {
	for _, slot := range p.slots() {
		select {
		case r := <-slot.renewed:
			err := errors.Join(p.agent.reserved.settle(r.Reserved), p.giveBack(ctx, r.Renewal))
			if err != nil {
				p.agent.cfg.Log.Error("renewal not ended", "profile", p.get().ID, "role", slot.role, "error", err)
			}
		default:
		}
	}
}

package agent

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// blocks reports whether the user wants no more of a relying party here. The
// server was told by the denial; this holds whether or not it obeys.
func (p *profile) blocks(client string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.stored.Blocked, func(b state.Block) bool { return b.ID == client })
}

// block ends what a relying party asks here, now and until it is lifted.
func (p *profile) block(client protocol.Client) error {
	s := p.get()
	if p.blocks(client.ID) {
		return nil
	}
	err := p.update(func(s *state.Profile) {
		s.Blocked = append(slices.Clone(s.Blocked), state.Block{ID: client.ID, Name: client.Name, At: time.Now().UTC()})
	})
	if err != nil {
		return err
	}
	p.agent.note(audit.Event{Kind: recordBlocked, UID: &s.UID, Profile: s.ID, Client: client.ID})
	p.agent.pending.drop(s.ID, client.ID)
	return nil
}

// update changes the profile, durably.
func (p *profile) update(change func(*state.Profile)) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	s := p.get()
	change(&s)
	if err := p.agent.cfg.State.SaveProfile(s); err != nil {
		return storageError(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored = s
	return nil
}

func (a *Agent) getBlocks(_ http.ResponseWriter, _ *http.Request, s ipc.Scope) (any, error) {
	out := []ipc.Block{}
	for _, p := range a.visible(s) {
		for _, b := range p.get().Blocked {
			out = append(out, ipc.Block{Profile: p.get().ID, Client: ipc.RelyingParty{ID: b.ID, Name: b.Name}, At: b.At})
		}
	}
	return out, nil
}

// deleteBlock lifts a block, at the server first: what it refuses, or cannot be
// asked for, changes nothing here.
func (a *Agent) deleteBlock(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	p, err := a.resolve(s, r.PathValue("profile"))
	if err != nil {
		return nil, err
	}
	stored, name := p.get(), r.PathValue("client")
	i := slices.IndexFunc(stored.Blocked, func(b state.Block) bool { return b.ID == name || b.Name == name })
	if i < 0 {
		return nil, ipc.Errorf(ipc.CodeNotFound, "see: countersign blocks", "no such relying party is blocked here")
	}
	b := stored.Blocked[i]
	if err := p.errLocked(); err != nil {
		return nil, err
	}
	client := p.clientNow()
	if client == nil {
		return nil, serverError(fmt.Errorf("%w: %w", upstream.ErrUnreachable, errNeverReached))
	}
	if err := client.Unblock(r.Context(), b.ID); err != nil {
		return nil, serverError(err)
	}
	err = p.update(func(s *state.Profile) {
		s.Blocked = slices.DeleteFunc(slices.Clone(s.Blocked), func(o state.Block) bool { return o.ID == b.ID })
	})
	if err != nil {
		return nil, err
	}
	a.note(audit.Event{Kind: recordUnblocked, UID: &stored.UID, Profile: stored.ID, Client: b.ID})
	return ipc.Block{Profile: stored.ID, Client: ipc.RelyingParty{ID: b.ID, Name: b.Name}, At: b.At}, nil
}

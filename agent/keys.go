package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
)

// getKeys lists the keys of the profiles within the scope, and what broken
// enrollments left in chips.
func (a *Agent) getKeys(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	give, err := a.examine(r.Context(), s)
	if err != nil {
		return nil, err
	}
	defer give()
	list := []ipc.StoredKey{}
	for _, p := range a.visible(s) {
		list = append(list, p.listKeys(r.Context())...)
	}
	left, err := a.leftovers(s)
	for _, res := range left {
		list = append(list, leftover(res))
	}
	return list, err
}

// listKeys lists both keys of a profile as they stand.
func (p *profile) listKeys(ctx context.Context) []ipc.StoredKey {
	list := make([]ipc.StoredKey, 0, 2)
	for _, k := range []struct {
		role string
		key  *lazyKey
	}{{ipc.RoleDevice, p.device()}, {ipc.RoleApproval, p.approval()}} {
		stored := k.key.stored(ctx)
		stored.Owner, stored.Account, stored.Role = p.get().ID, p.account(), k.role
		list = append(list, stored)
	}
	return list
}

// stored is the key as it stands, found out without using it.
func (k *lazyKey) stored(ctx context.Context) ipc.StoredKey {
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	out := ipc.StoredKey{Provider: k.facts.Provider, Protection: protectionText(k.Protection()), State: ipc.KeyOK}
	key, err := k.probe(ctx)
	var h hsm.Health
	if inspector, can := key.(hsm.Inspector); err == nil && can {
		h, err = inspector.Inspect(ctx)
		out.Place = h.Place
		if err == nil && h.TriesLeft >= 0 && k.facts.Counter != "" {
			out.TriesLeft = &h.TriesLeft
		}
	}
	switch {
	case errors.Is(err, hsm.ErrForeignKey):
		out.State, out.Detail = ipc.KeyForeign, chipError(err).Message
	case err != nil:
		out.State, out.Detail = ipc.KeyUnavailable, chipError(onChip(k.facts.Provider, err)).Message
	case !h.LockedUntil.IsZero():
		until := h.LockedUntil.UTC()
		out.State, out.LockedUntil = ipc.KeyLocked, &until
	case out.TriesLeft != nil && *out.TriesLeft == 0:
		out.State = ipc.KeyLocked
	}
	return out
}

// leftovers are the reservations within a scope that nobody works on.
func (a *Agent) leftovers(s ipc.Scope) ([]state.Reservation, error) {
	list, err := a.cfg.State.Reservations()
	return slices.DeleteFunc(list, func(r state.Reservation) bool {
		return !s.Covers(r.UID) || a.reserved.held(r.Name)
	}), err
}

func leftover(r state.Reservation) ipc.StoredKey {
	k := ipc.StoredKey{Owner: r.Name, Role: ipc.RoleLeftover, Provider: r.Provider, State: ipc.KeyLeftover, Detail: "what an enrollment left that did not come to an end; it is removed by itself"}
	if r.Provider == kindPIV {
		k.Detail = "what an enrollment left that did not come to an end; where the token wants its PIN for that: countersign keys delete " + r.Name
	}
	return k
}

func (a *Agent) postKeyDeletion(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodeKeyDeletion(r)
	if err != nil {
		return nil, err
	}
	defer in.PIN.Wipe()
	defer in.Admin.Wipe()
	out, err := a.deleteKeys(r.Context(), s, r.PathValue("owner"), hsm.Auth{PIN: in.PIN, Admin: in.Admin})
	if err != nil {
		return nil, told(chipError(err), err)
	}
	return out, nil
}

// deleteKeys removes a leftover, or the keys of a profile that is over, and
// forgets it.
func (a *Agent) deleteKeys(ctx context.Context, s ipc.Scope, owner string, auth hsm.Auth) ([]ipc.StoredKey, error) {
	left, err := a.leftovers(s)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(left, func(r state.Reservation) bool { return r.Name == owner }); i >= 0 {
		return []ipc.StoredKey{leftover(left[i])}, a.reserved.remove(ctx, left[i], auth)
	}
	p, err := a.finished(ctx, s, owner)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*signWait)
	defer cancel()
	gone := p.listKeys(ctx)
	for _, k := range []*lazyKey{p.device(), p.approval()} {
		if err := k.Delete(ctx, auth); err != nil {
			return nil, err
		}
	}
	a.forget(p)
	a.cfg.Log.Info("profile forgotten, its keys deleted", "profile", p.get().ID, "uid", s.Peer.UID)
	return gone, a.cfg.State.RemoveProfile(p.get().ID)
}

// finished finds a profile that is over: the server has ended it, or its keys
// are not in this chip any more, and then it could not even hear of its end.
func (a *Agent) finished(ctx context.Context, s ipc.Scope, name string) (*profile, error) {
	p, err := a.resolveWith(s, name, func(p *profile) bool { return p.get().State == state.Revoked })
	if err != nil {
		return nil, err
	}
	if p.get().State == state.Revoked {
		return p, nil
	}
	if _, err := p.device().probe(ctx); errors.Is(err, hsm.ErrForeignKey) {
		return p, nil
	}
	return nil, ipc.Errorf(ipc.CodeProfileActive, "have the server end it first: countersign-server device revoke "+p.get().Device, "the profile is %s, and its keys are in use", p.get().State)
}

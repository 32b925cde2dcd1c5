package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/protocol"
)

// maxRefused bounds what is remembered of invalid requests.
const maxRefused = 256

// fateWait bounds how long the server is asked what became of requests that it
// lists no more: the next poll waits for it.
const fateWait = 5 * time.Second

// BeforeFetch implements upstream.Watcher.
func (p *profile) BeforeFetch() { p.polled, p.stays = BootTime(), !p.leaving.Load() }

// Reached implements upstream.Watcher.
func (p *profile) Reached(err error) {
	problem, refused := errors.AsType[*protocol.Problem](err)
	p.mu.Lock()
	back := err == nil && p.reach != nil
	p.reach = err
	if err == nil || refused {
		p.contacted = time.Now()
	}
	p.mu.Unlock()
	p.agent.counts.poll(err)
	if back {
		poke(p.back)
		p.agent.machine.poke()
	}
	if client := p.clientNow(); client != nil {
		if err == nil {
			p.reachable(client)
		}
		p.mindTrust(client, err)
	}
	switch {
	case err == nil && p.get().State != state.Active:
		p.setState(state.Active, "")
	case refused && problem.Code == protocol.ProblemUnconfirmed:
		p.setState(state.Unconfirmed, problem.Detail)
	case refused && problem.Code == protocol.ProblemSuspended:
		p.setState(state.Suspended, problem.Detail)
		// It waits still at the server, and comes again should the device go on.
		p.agent.pending.clear(p.get().ID, true)
	}
	if err == nil && p.stays {
		p.stay()
	}
	if refused && problem.Code == protocol.ProblemCertExpired {
		p.refresh()
	}
}

// Listed implements upstream.Watcher: it takes in what is new and ends what
// the server no longer lists.
func (p *profile) Listed(ctx context.Context, list protocol.Requests) {
	if list.Now != 0 {
		p.mu.Lock()
		p.skew = time.Until(time.Unix(list.Now, 0)).Round(time.Second)
		p.mu.Unlock()
	}
	listed := map[string]bool{}
	for _, compact := range list.Requests {
		if id, ok := p.receive(compact, list.Now, p.polled); ok {
			listed[id] = true
		}
	}
	id := p.get().ID
	ctx, cancel := context.WithTimeout(ctx, fateWait)
	defer cancel()
	for _, gone := range p.agent.pending.missing(id, listed) {
		p.agent.pending.end(id, gone, p.fate(ctx, gone))
	}
}

// receive verifies one request and puts it on the list. What the server's
// clock says of its age counts from when it was asked, so that no delay
// on the way lengthens its life.
func (p *profile) receive(compact string, now int64, sent time.Duration) (id string, ok bool) {
	req, err := protocol.ParseRequest(compact, p.serverKeys())
	if err == nil {
		err = p.addressed(req)
	}
	// A former name is the server's word, and is shown as the one that asks.
	if err == nil && (p.locked() != nil || !p.agent.cfg.Policy.Servers.AllowsIssuer(req.Issuer)) {
		err = errHeldOff
	}
	if err == nil && p.blocks(req.Client.ID) {
		err = errBlocked
	}
	if err != nil {
		p.refuse(compact, err)
		return "", false
	}
	left := min(req.ExpiresAt-now, req.ExpiresAt-req.IssuedAt)
	if left <= 0 {
		return "", false
	}
	s := p.get()
	it := &item{
		profile: s.ID, uid: s.UID, compact: compact, req: req, received: time.Now(),
		deadline: sent + time.Duration(left)*time.Second,
	}
	switch p.agent.pending.add(it) {
	case added:
		p.agent.counts.received.Inc(className(req.Class))
		p.agent.cfg.Log.Info("approval request received", "profile", s.ID, "request", req.ID, "type", req.Type, "class", req.Class)
	case crowded:
		p.refuse(compact, errCrowded)
		return "", false
	case known:
	}
	return req.ID, true
}

var (
	errCrowded = errors.New("as many requests wait as may")
	errBlocked = errors.New("the user has blocked this relying party")
	errHeldOff = errors.New("the policy of this computer holds the profile off")
)

var errNotForUs = errors.New("the request is for another device, profile or server")

func (p *profile) addressed(req *protocol.Request) error {
	s := p.get()
	if !slices.Contains(s.Names(), req.Issuer) || req.Audience != s.Device || req.Subject != s.ID {
		return errNotForUs
	}
	return nil
}

// refuse logs an invalid request once, however often it is listed, and so many in
// an hour: a server must not fill the log.
func (p *profile) refuse(compact string, err error) {
	h := protocol.Hash([]byte(compact))
	p.mu.Lock()
	if now := BootTime(); len(p.refused) >= maxRefused && now-p.refusedSince >= time.Hour {
		p.refused, p.refusedSince = map[string]bool{}, now
	}
	known := p.refused[h] || len(p.refused) >= maxRefused
	if !known {
		p.refused[h] = true
	}
	p.mu.Unlock()
	if known {
		return
	}
	p.agent.counts.refusedRequest(err)
	p.agent.note(refusedRequest(p.get(), h, err))
	p.agent.cfg.Log.Warn("approval request refused", "profile", p.get().ID, "sha256", h, "error", err)
}

// fate asks what became of a request that is listed no more. Where the server
// does not say, it was cancelled as far as this device is concerned.
func (p *profile) fate(ctx context.Context, id string) protocol.State {
	st, err := p.clientNow().RequestState(ctx, id)
	if err != nil || !st.State.Final() {
		return protocol.StateCancelled
	}
	return st.State
}

func (p *profile) clientNow() *upstream.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client
}

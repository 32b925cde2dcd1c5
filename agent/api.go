package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// Routes is the local API, each call with its access rule.
func (a *Agent) Routes() []ipc.Route {
	return []ipc.Route{
		{Pattern: "GET /v1/alive", Access: ipc.ReadOwn, Handle: a.getAlive},
		{Pattern: "GET /v1/status", Access: ipc.ReadOwn, Handle: a.getStatus},
		{Pattern: "GET /v1/doctor", Access: ipc.ReadOwn, Handle: a.getDoctor},
		{Pattern: "GET /v1/inventory", Access: ipc.ReadOwn, Handle: a.getInventory},
		{Pattern: "GET /v1/profiles", Access: ipc.ReadOwn, Handle: a.getProfiles},
		{Pattern: "GET /v1/profiles/{profile}", Access: ipc.ReadOwn, Handle: a.getProfile},
		{Pattern: "POST /v1/profiles/{profile}/pin", Access: ipc.ActOwn, Handle: a.postPINChange},
		{Pattern: "POST /v1/profiles/{profile}/renewal", Access: ipc.ActOwn, Handle: a.postRenewal},
		{Pattern: "POST /v1/profiles/{profile}/end", Access: ipc.ActOwn, Handle: a.postEnd},
		{Pattern: "POST /v1/enrollments", Access: ipc.ActOwn, Handle: a.postEnrollment},
		{Pattern: "GET /v1/requests", Access: ipc.ReadOwn, Handle: a.getRequests},
		{Pattern: "GET /v1/requests/{id}", Access: ipc.ReadOwn, Handle: a.getRequest},
		{Pattern: "POST /v1/requests/{id}/decision", Access: ipc.ActOwn, Handle: a.postDecision},
		{Pattern: "POST /v1/otp", Access: ipc.ActOwn, Handle: a.postOTP},
		{Pattern: "POST /v1/incidents", Access: ipc.ActOwn, Handle: a.postIncident},
		{Pattern: "POST /v1/mute", Access: ipc.ActOwn, Handle: a.postMute},
		{Pattern: "GET /v1/blocks", Access: ipc.ReadOwn, Handle: a.getBlocks},
		{Pattern: "DELETE /v1/profiles/{profile}/blocks/{client}", Access: ipc.ActOwn, Handle: a.deleteBlock},
		{Pattern: "GET /v1/log", Access: ipc.ReadOwn, Handle: a.getLog},
		{Pattern: "GET /v1/log/verification", Access: ipc.ReadOwn, Handle: a.getLogVerification},
		{Pattern: "GET /v1/keys", Access: ipc.ReadOwn, Handle: a.getKeys},
		{Pattern: "POST /v1/keys/{owner}/deletion", Access: ipc.ActOwn, Handle: a.postKeyDeletion},
		{Pattern: "GET /v1/events", Access: ipc.ActOwn, Handle: a.getEvents},
	}
}

// getAlive takes each lock that a call may wait for, and answers once it has had
// them all. It waits for no chip, disk or network.
func (a *Agent) getAlive(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
	for _, p := range a.all() {
		uid := p.get().UID
		a.attention.standing(uid)
		a.events.prompting(uid)
	}
	a.pending.waiting(func(uint32) bool { return false })
	return struct{}{}, nil
}

func (a *Agent) getStatus(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	quiet, until := a.quietUntil(s.Peer.UID)
	return ipc.Status{
		Version: a.cfg.Version, Mode: a.cfg.Mode, Keys: a.chips.String(),
		Degraded: a.glimpse(r.Context(), s), Profiles: len(a.visible(s)), Pending: a.pending.waiting(s.Covers),
		Quiet: quiet, QuietUntil: until, MutedUntil: a.mutedUntil(s.Peer.UID), Prompting: a.events.prompting(s.Peer.UID), Policy: a.policyInfo(),
	}, nil
}

func (a *Agent) visible(s ipc.Scope) []*profile {
	var list []*profile
	for _, p := range a.all() {
		if s.Covers(p.get().UID) {
			list = append(list, p)
		}
	}
	return list
}

func (a *Agent) getProfiles(_ http.ResponseWriter, _ *http.Request, s ipc.Scope) (any, error) {
	list := []ipc.Profile{}
	for _, p := range a.visible(s) {
		list = append(list, p.info())
	}
	return list, nil
}

func (a *Agent) getProfile(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	p, err := a.resolve(s, r.PathValue("profile"))
	if err != nil {
		return nil, err
	}
	if r.URL.Query().Get("check") != "" {
		if err := p.check(r.Context()); err != nil {
			return nil, err
		}
	}
	return p.info(), nil
}

// resolve finds a profile by id, unique prefix or user@host. What the server
// has ended does not stand in the way of what works.
func (a *Agent) resolve(s ipc.Scope, name string) (*profile, error) {
	return a.resolveWith(s, name, func(p *profile) bool { return p.get().State != state.Revoked })
}

// resolveWith finds a profile; of several that the name fits, the preferred one.
func (a *Agent) resolveWith(s ipc.Scope, name string, prefer func(*profile) bool) (*profile, error) {
	var found []*profile
	for _, p := range a.visible(s) {
		if p.get().ID == name {
			return p, nil
		}
		if strings.HasPrefix(p.get().ID, name) || p.account() == name {
			found = append(found, p)
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(p *profile) bool { return !prefer(p) })
	}
	switch len(found) {
	case 0:
		return nil, ipc.Errorf(ipc.CodeNotEnrolled, "see: countersign profiles", "you have no profile %.80q", name)
	case 1:
		return found[0], nil
	}
	return nil, ipc.Errorf(ipc.CodeBadRequest, "give more of the profile's id", "%.80q could be any of %d profiles", name, len(found))
}

// check asks the server how the enrollment stands, and remembers it.
func (p *profile) check(ctx context.Context) error {
	if p.get().State == state.Revoked {
		return nil
	}
	if err := p.errLocked(); err != nil {
		return err
	}
	if _, err := p.device().probe(ctx); errors.Is(err, hsm.ErrForeignKey) {
		return chipError(err) // the server would hear nothing but a broken handshake
	}
	client := p.clientNow()
	if client == nil {
		return serverError(fmt.Errorf("%w: %w", upstream.ErrUnreachable, errNeverReached))
	}
	st, err := client.State(ctx)
	if problem, final := upstream.Final(err); final {
		p.revoked(problem)
		return nil
	}
	if problem, ok := asProblem(err); ok && problem.Code == protocol.ProblemUnconfirmed {
		return nil
	}
	if err == nil && st.State == protocol.EnrollmentSuspended {
		p.setState(state.Suspended, st.Reason)
		return nil
	}
	if err != nil {
		return serverError(err)
	}
	if st.State == state.Active {
		p.setState(state.Active, "")
	}
	return nil
}

func (a *Agent) postEnrollment(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodeEnrollment(r)
	if err != nil {
		return nil, err
	}
	out, err := a.enroll(r.Context(), s.Peer.UID, in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a *Agent) getRequests(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	return a.pending.list(s, r.URL.Query().Get("all") != ""), nil
}

func (a *Agent) getRequest(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	it, sum, err := a.pending.show(s, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	v := a.view(ipc.ViewOf(r))
	record, err := render(it, v)
	if err != nil {
		return nil, err
	}
	d := ipc.Display{
		Request: sum, Lines: record, Language: v.Language, TimeZone: v.TimeZone, HighValue: it.req.HighValue,
		RequestHash: protocol.Hash([]byte(it.compact)), DisplayHash: record.Hash(),
		NumberDigits: it.req.Digits(), PINNeeded: a.pinNeeded(it),
	}
	if sum.Status == statusPending && !d.PINNeeded && byService(it.req.Method) {
		d.Verify = a.offer(r.Context(), s, it)
		d.PINNeeded = d.Verify == ""
	}
	if p, ok := a.profile(it.profile); ok {
		d.Account = p.account()
		d.TouchNeeded = d.PINNeeded && p.approval().Protection().Touch
		if d.PINNeeded || d.Verify != "" {
			d.PINTriesLeft = p.triesLeft(r.Context())
		}
	}
	return d, nil
}

func (a *Agent) postDecision(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	ans, err := ipc.DecodeAnswer(r)
	if err != nil {
		return nil, err
	}
	out, err := a.decide(r.Context(), s, r.PathValue("id"), ans)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// getEvents streams what happens: first everything that is pending, then each
// change, until the caller goes or falls behind.
func (a *Agent) getEvents(w http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	sub := a.events.subscribe(s.Covers, s.Peer.UID, r.URL.Query().Get("prompting") == "1")
	if sub == nil {
		return nil, ipc.Errorf(ipc.CodeRateLimited, "end session helpers that you do not need", "you have %d streams already", maxStreams)
	}
	defer a.events.unsubscribe(sub)
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	send := func(e ipc.Event) bool { return out.Encode(e) == nil && flush.Flush() == nil }
	waiting := a.pending.list(s, false)
	for _, req := range waiting {
		if !send(ipc.Event{Kind: ipc.EventPending, Request: &req, Pending: len(waiting)}) {
			return nil, nil
		}
	}
	for _, p := range a.visible(s) {
		if info := p.info(); info.RenewBy != nil && !send(ipc.Event{Kind: ipc.EventProfile, Profile: &info, Pending: len(waiting)}) {
			return nil, nil
		}
	}
	if setup := a.setupOf(s.Peer.UID); setup != nil && !send(ipc.Event{Kind: ipc.EventSetup, Setup: setup, Pending: len(waiting)}) {
		return nil, nil
	}
	if !send(ipc.Event{Kind: ipc.EventReady, Pending: len(waiting)}) {
		return nil, nil
	}
	for {
		select {
		case e, ok := <-sub.events:
			if !ok || !send(e) {
				return nil, nil
			}
		case <-r.Context().Done():
			return nil, nil
		}
	}
}

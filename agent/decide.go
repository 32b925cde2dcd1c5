package agent

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

const (
	// confirmWait is how long a caller is kept waiting for the server's
	// receipt before it is told that the decision is not confirmed yet.
	confirmWait = 10 * time.Second
	// signWait bounds the chip's part, a touch included: tokens wait a quarter
	// of a minute for theirs.
	signWait = time.Minute
)

// decide turns a person's answer into a signed decision and waits a while for
// the server to confirm it. Until the decision is durable an error leaves the
// request pending; after that the outcome is in the Result.
func (a *Agent) decide(ctx context.Context, s ipc.Scope, id string, ans ipc.Answer) (ipc.Result, error) {
	defer ans.PIN.Wipe()
	it, claim, err := a.pending.claim(s, id)
	if err != nil {
		return ipc.Result{}, err
	}
	p, ok := a.profile(it.profile)
	if !ok {
		a.pending.settle(it, claim, string(protocol.StateCancelled))
		return ipc.Result{}, errNoRequest(id)
	}
	entry, err := a.commit(ctx, s, p, it, ans)
	if err != nil {
		a.pending.settle(it, claim, statusPending)
		return ipc.Result{}, told(chipError(err), err)
	}
	a.pending.settle(it, claim, statusUnconfirmed)
	a.counts.decided.Inc(entry.Verb, className(it.req.Class))
	if entry.Verb == protocol.Deny {
		a.denied(p, it, entry.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, confirmWait)
	defer cancel()
	ctx, release := p.untilHeld(ctx)
	defer release()
	entry = p.outbox.wait(ctx, entry.Seq)
	if entry.State == state.Queued && p.get().State == state.Suspended {
		return ipc.Result{}, ipc.Errorf(protocol.ProblemSuspended, serverCure(protocol.ProblemSuspended), "the server has suspended this device; the decision is kept, and counts if it lets the device go on in time")
	}
	return result(entry)
}

// denied draws the conclusions of a denial that is made and stored. That of
// somebody who did not start it ends what the relying party may ask; where that
// cannot be stored the server, which is told by the denial, holds it off alone.
func (a *Agent) denied(p *profile, it *item, reason string) {
	a.attention.strike(it.uid)
	if reason != protocol.ReasonNotMe {
		return
	}
	if err := p.block(it.req.Client); err != nil {
		a.cfg.Log.Error("the relying party is not blocked here", "profile", it.profile, "client", it.req.Client.ID, "error", err)
	}
}

// commit checks the answer, has the chip sign the decision and stores it.
func (a *Agent) commit(ctx context.Context, s ipc.Scope, p *profile, it *item, ans ipc.Answer) (state.Entry, error) {
	if err := p.errLocked(); err != nil {
		return state.Entry{}, err
	}
	d, err := a.draft(it, ans, p.approval().Protection())
	if err != nil {
		return state.Entry{}, err
	}
	ctx, release := a.pending.bound(ctx, it)
	defer release()
	if err := a.recognize(ctx, s, it, d); err != nil {
		return state.Entry{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	if err := p.pins.wait(ctx, !ans.PIN.Empty()); err != nil {
		return state.Entry{}, err
	}
	entry := state.Entry{
		ID: it.req.ID, Request: it.compact, Verb: d.Decision, Reason: d.Reason,
		ReceivedAt: it.received, DecidedAt: time.Now(),
	}
	ctx, touched, stop := patient(ctx)
	defer stop()
	onRecord := ""
	entry, err = p.outbox.add(ctx, entry, func(prev string) (string, error) {
		// What was true when the person answered may have changed while this
		// waited for its turn.
		if err := s.Peer.Check(); err != nil {
			return "", ipc.Errorf(ipc.CodeForbidden, "", "%v", err)
		}
		if err := a.pending.still(it); err != nil {
			return "", err
		}
		if d.Decision == protocol.Approve && d.UV.Class < a.floor(it) {
			return "", errPINNeeded()
		}
		d.Prev, d.IssuedAt = prev, time.Now().Unix()
		compact, err := p.sign(ctx, d, hsm.Auth{PIN: ans.PIN, Touch: func() { touched(); a.askTouch(it) }})
		if err != nil && ctx.Err() != nil {
			// The chip was told to stop, and why is what the person wants to know.
			err = cmp.Or(a.pending.still(it), outOfPatience(ctx), err)
		}
		if err != nil {
			return "", err
		}
		// Nothing is ever sent that is not on record.
		if err := a.record(made(it, d, compact)); err != nil {
			return "", err
		}
		onRecord = compact
		return compact, nil
	})
	if err != nil {
		if onRecord != "" {
			a.note(unstored(it, onRecord))
		}
		return state.Entry{}, storageError(err)
	}
	return entry, nil
}

// askTouch tells the owner's helpers that the token waits to be touched.
func (a *Agent) askTouch(it *item) {
	if sum, uid, ok := a.pending.get(it.profile, it.req.ID); ok {
		a.publish(uid, ipc.Event{Kind: ipc.EventTouch, Request: &sum, Pending: a.pending.waiting(func(other uint32) bool { return other == uid })})
	}
}

// sign has the hardware sign: with the approval key and the PIN where the
// class demands it, else with the device key.
func (p *profile) sign(ctx context.Context, d *protocol.Decision, auth hsm.Auth) (string, error) {
	if protocol.RoleFor(d.Decision, d.UV.Class) == protocol.RoleDevice {
		return protocol.SignDecision(hsm.Signer(ctx, p.device(), hsm.Auth{}), d)
	}
	if err := p.pins.check(); err != nil {
		return "", err
	}
	compact, err := protocol.SignDecision(hsm.Signer(ctx, p.approval(), auth), d)
	p.usedPIN(d.ID, err)
	return compact, err
}

// draft checks an answer against what was shown and what the request demands,
// and returns the decision that it amounts to.
func (a *Agent) draft(it *item, ans ipc.Answer, key hsm.Protection) (*protocol.Decision, error) {
	v := a.view(ipc.View{Language: ans.Language, TimeZone: ans.TimeZone})
	record, err := render(it, v)
	if err != nil {
		return nil, err
	}
	d := &protocol.Decision{
		Issuer: it.req.Audience, Audience: it.req.Issuer, Subject: it.req.Subject, ID: it.req.ID,
		Request: protocol.Hash([]byte(it.compact)), Display: record.Hash(),
		DisplayVersion: protocol.DisplayVersion, Language: v.Language, TimeZone: v.TimeZone,
		Decision: ans.Decision, Reason: ans.Reason,
		UV: protocol.UV{Method: protocol.UVNone, Class: protocol.C0, Surface: ans.Surface},
	}
	if ans.RequestHash != d.Request || ans.DisplayHash != d.Display {
		return nil, ipc.Errorf(ipc.CodeMismatch, "look at the request again and decide on what it says now", "the answer is about something else than this request")
	}
	if ans.Decision == protocol.Approve {
		if err := a.demand(it, ans, key, d); err != nil {
			return nil, err
		}
	}
	d.IssuedAt, d.Prev = 1, protocol.NoPrev // set when signed
	if err := d.Validate(); err != nil {
		return nil, ipc.Errorf(ipc.CodeBadRequest, "", "the answer is not one: %v", err)
	}
	return d, nil
}

// demand checks that an approval brings all that the request's class takes,
// and writes into d what it brings.
func (a *Agent) demand(it *item, ans ipc.Answer, key hsm.Protection, d *protocol.Decision) error {
	req, class := it.req, a.floor(it)
	switch {
	case !slices.Contains(protocol.Methods(), req.Method):
		return ipc.Errorf(ipc.CodeMethodUnsupported, "upgrade countersignd, or have another type of transaction started", "this service cannot verify anybody by %s", req.Method)
	case !a.cfg.Policy.AllowsSurface(ans.Surface):
		return errSurface(a.cfg.Policy)
	case ans.Surface == protocol.SurfaceCLI && req.HighValue:
		return ipc.Errorf(ipc.CodeSurfaceForbidden, "approve it in the prompt or in a terminal", "this request may not be approved by a program")
	case len(ans.Number) != req.Digits() || strings.Trim(ans.Number, "0123456789") != "":
		return ipc.Errorf(ipc.CodeNumberRequired, "type the number that "+req.Client.Name+" shows", "approving takes a number of %d digits", req.Digits())
	case class >= protocol.C3 && !key.Touch:
		return ipc.Errorf(ipc.CodeKeyUnsupported, "enroll a token with a touch sensor: countersign enroll LINK --key piv", "this request takes a touch, which the key of this profile does not ask for")
	}
	d.Number = ans.Number
	if req.Digits() > 0 {
		d.UV.Class = protocol.C1
	}
	if m, ok := a.means(it); ok && ans.PIN.Empty() {
		d.UV.Method = m.UV
		return nil
	}
	// What the service might have verified, the PIN stands in for.
	if class < protocol.C2 && !byService(req.Method) {
		return nil
	}
	d.UV.Method, d.UV.Class = protocol.UVPIN, protocol.C2
	if class >= protocol.C3 {
		d.UV.Method, d.UV.Class = protocol.UVTouch, protocol.C3
	}
	return checkPIN(ans.PIN)
}

// checkPIN refuses what cannot be a PIN, so that no try is spent on it.
func checkPIN(pin secret.Value) error {
	switch n := len(pin.Reveal()); {
	case n == 0:
		return errPINNeeded()
	case n < hsm.MinPIN || n > hsm.MaxPIN:
		return ipc.Errorf(ipc.CodeBadPIN, "", "a PIN has %d to %d bytes", hsm.MinPIN, hsm.MaxPIN)
	}
	return nil
}

// result says what an entry of the outbox came to.
func result(e state.Entry) (ipc.Result, error) {
	r := ipc.Result{ID: e.ID, Decision: e.Verb, Reason: e.Reason, Status: e.Status, Confirmed: e.State == state.Delivered}
	if e.State == state.Queued {
		r.Status = statusUnconfirmed
	}
	if e.State == state.Refused {
		return r, refusal(e)
	}
	return r, nil
}

func refusal(e state.Entry) *ipc.Error {
	switch e.Code {
	case protocol.ProblemWrongNumber:
		err := ipc.Errorf(ipc.CodeWrongNumber, "look at the number again and type it", "that is not the number")
		err.TriesLeft = &e.TriesLeft
		return over(err, e)
	case protocol.ProblemAlreadyDecided:
		return errNotPending(e.Status)
	}
	return over(ipc.Errorf(ipc.CodeServerRefused, "see countersign doctor", "the server refused the decision (%s)", e.Code), e)
}

// over adds the final status, where the refusal was the request's end.
func over(err *ipc.Error, e state.Entry) *ipc.Error {
	if protocol.State(e.Status).Final() {
		err.Status = e.Status
	}
	return err
}

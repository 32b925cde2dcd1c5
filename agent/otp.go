package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

func (a *Agent) postOTP(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodeRedemption(r)
	if err != nil {
		return nil, err
	}
	defer in.Code.Wipe()
	out, err := a.redeem(r.Context(), s, in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// redeem turns a code into a request that waits. A code never leads to a server
// that the user is not enrolled at: the link only says which profile is meant.
func (a *Agent) redeem(ctx context.Context, s ipc.Scope, in ipc.Redemption) (ipc.Request, error) {
	if !protocol.ValidOrigin(in.Origin) {
		return ipc.Request{}, ipc.Errorf(ipc.CodeBadRequest, "", "the origin of the code is unknown")
	}
	p, code, err := a.codeFor(s, in)
	if err != nil {
		return ipc.Request{}, err
	}
	if err := p.errLocked(); err != nil {
		return ipc.Request{}, err
	}
	client := p.clientNow()
	if client == nil || p.get().State != state.Active {
		return ipc.Request{}, ipc.Errorf(ipc.CodeServer, "see: countersign profiles", "%s", p.trouble())
	}
	if err := a.limits.admitCode(s.Peer.UID, in.Origin, BootTime()); err != nil {
		return ipc.Request{}, err
	}
	sent := BootTime()
	answer, err := client.Redeem(ctx, protocol.OTPRedemption{OTP: code, Origin: in.Origin})
	if err != nil {
		return ipc.Request{}, serverError(err)
	}
	req, err := p.redeemed(answer, in.Origin)
	if err != nil {
		return ipc.Request{}, ipc.Errorf(ipc.CodeServerRefused, "tell whoever runs the server", "what the server made of the code is not to be shown: %v", err)
	}
	if _, ok := p.receive(answer.Request, answer.Now, sent); !ok {
		return ipc.Request{}, ipc.Errorf(ipc.CodeNotDecidable, "start again where the code came from", "the request is over, or as many wait as may")
	}
	stored := p.get()
	a.note(audit.Event{Kind: recordRedeemed, UID: &stored.UID, Profile: stored.ID, Request: req.ID, Client: req.Client.ID, Detail: map[string]string{"origin": in.Origin}})
	sum, _, _ := a.pending.get(stored.ID, req.ID)
	return sum, nil
}

// codeFor finds whose a code is, and takes it out of its link.
func (a *Agent) codeFor(s ipc.Scope, in ipc.Redemption) (*profile, string, error) {
	text := strings.TrimSpace(string(in.Code.Reveal()))
	server := ""
	if strings.Contains(text, ":") {
		u, err := protocol.ParseOTPURI(text)
		if err != nil {
			return nil, "", ipc.Errorf(ipc.CodeBadRequest, "copy the whole code or link again", "that is no code: %v", err)
		}
		text, server = string(u.OTP.Reveal()), u.Server
	}
	text = strings.ToUpper(text)
	if protocol.CheckOTP(text) != nil {
		return nil, "", ipc.Errorf(ipc.CodeBadRequest, "copy the whole code or link again", "that is no code: it has letters and the digits 2 to 7 alone")
	}
	p, err := a.profileOf(s, in.Profile, server)
	return p, text, err
}

// profileOf finds the profile that is named, or the caller's only one at a
// server, "" meaning anywhere.
func (a *Agent) profileOf(s ipc.Scope, name, server string) (*profile, error) {
	at := func(p *profile) bool {
		stored := p.get()
		return stored.State != state.Revoked && (server == "" || slices.Contains(stored.URLs(), server) || slices.Contains(stored.Names(), server))
	}
	if name != "" {
		p, err := a.resolve(s, name)
		if err == nil && !at(p) {
			err = ipc.Errorf(ipc.CodeBadRequest, "leave out --profile", "the code is of another server than this profile")
		}
		return p, err
	}
	var found []*profile
	for _, p := range a.visible(s) {
		if p.get().UID == s.Peer.UID && at(p) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return nil, ipc.Errorf(ipc.CodeNotEnrolled, "see: countersign profiles", "you are not enrolled at the server of this code")
	case 1:
		return found[0], nil
	}
	return nil, ipc.Errorf(ipc.CodeBadRequest, "name one: --profile", "the code could be for any of %d profiles", len(found))
}

// redeemed checks what the server made of a code: a request to this device, that
// says where the code came from.
func (p *profile) redeemed(answer protocol.OTPRedeemed, origin string) (*protocol.Request, error) {
	req, err := protocol.ParseRequest(answer.Request, p.serverKeys())
	if err != nil {
		return nil, err
	}
	switch {
	case p.addressed(req) != nil:
		return nil, errNotForUs
	case p.blocks(req.Client.ID):
		return nil, errBlocked
	case req.Origin == "":
		return nil, errors.New("it does not say that a code brought it")
	case req.HighValue && origin == protocol.OriginLink:
		return nil, errors.New("what is of high value is not taken from a link")
	}
	return req, nil
}

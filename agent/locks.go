package agent

import (
	"errors"
	"slices"
	"strings"
	"time"

	"countersign/agent/policy"
	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// askAdmin is the cure of what the policy does not allow.
const askAdmin = "ask your administrator"

// policyInfo is the policy as clients see it.
func (a *Agent) policyInfo() *ipc.Policy {
	p := a.cfg.Policy
	info := &ipc.Policy{
		Servers: p.Servers.Strings(), PINMinLength: max(p.PINMinLength, hsm.MinPIN),
		MuteMaxSeconds: int64(p.Mute(maxMute) / time.Second), LocalApprovals: p.LocalApprovals,
		Keys: p.Keys, AttestationRequired: p.AttestationRequired,
	}
	if p.ClassFloor > protocol.C0 {
		info.ClassFloor = p.ClassFloor.String()
	}
	if info.LocalApprovals == "" {
		info.LocalApprovals = policy.Anywhere
	}
	if info.Keys == nil {
		info.Keys = []string{kindTPM, kindPIV}
	}
	return info
}

func errSurface(p policy.Policy) *ipc.Error {
	where := "in a prompt or on a terminal"
	if p.LocalApprovals != policy.OnTerminals {
		where = "in a prompt of the desktop"
	}
	return ipc.Errorf(ipc.CodeSurfaceForbidden, "approve it "+where+", or "+askAdmin, "on this computer approvals are made %s alone", where)
}

func errServer(server string) *ipc.Error {
	return ipc.Errorf(ipc.CodeServerForbidden, askAdmin+", who can add it to policy.servers", "this computer's policy does not allow the server %.200s", strings.Map(printable, server))
}

func errKeyForbidden(provider string) *ipc.Error {
	return ipc.Errorf(ipc.CodeKeyForbidden, "use another --key, or "+askAdmin, "this computer's policy does not allow keys in %.40q", provider)
}

func errUnproved() *ipc.Error {
	return ipc.Errorf(ipc.CodeAttestationRequired, "use a chip whose maker the server knows, or "+askAdmin, "this computer's policy takes keys alone that their chip has proved to the server")
}

// checkNewPIN refuses a PIN that the policy does not let anybody set.
func (a *Agent) checkNewPIN(pin secret.Value, cure string) error {
	if err := checkPIN(pin); err != nil {
		return err
	}
	if p := a.cfg.Policy; !p.AllowsPIN(pin.Reveal()) {
		return ipc.Errorf(ipc.CodePINTooShort, cure, "on this computer a PIN has %d characters at least", p.PINMinLength)
	}
	return nil
}

// longerPIN is what to do about a new PIN that is too short.
const longerPIN = "choose a longer one; a token takes 8 at most"

// allows refuses, before any key is made, an enrollment that the policy will not
// let work.
func (a *Agent) allows(server string, p plan) error {
	switch {
	case !a.cfg.Policy.Servers.AllowsURL(server):
		return errServer(server)
	case a.cfg.Policy.AttestationRequired && p.silent:
		return errUnproved()
	}
	return a.allowsKeys(p.approval.Name(), p.device.Name())
}

func (a *Agent) allowsKeys(providers ...string) error {
	for _, name := range providers {
		if !a.cfg.Policy.AllowsKey(name) {
			return errKeyForbidden(name)
		}
	}
	return nil
}

// allowed refuses to tell a server of an enrollment that the policy will not let
// work. It may have become stricter since the keys were made, or what the chip
// claims less.
func (n *enrolling) allowed() error {
	if !n.agent.cfg.Policy.Servers.AllowsURL(n.Server) {
		return &lockedError{errServer(n.Server)}
	}
	if n.agent.cfg.Policy.AttestationRequired && n.Start.Attestation.Format == protocol.AttestationNone {
		e := errUnproved()
		if n.Unattested != "" {
			e.Message += ": " + n.Unattested
		}
		return &lockedError{e}
	}
	if err := n.agent.allowsKeys(n.ApprovalKey.Provider, n.DeviceKey.Provider); err != nil {
		return &lockedError{err}
	}
	return nil
}

// lockedError says that trying again brings nothing while the policy stands.
type lockedError struct{ error }

func (e *lockedError) Unwrap() error { return e.error }

// lock is why the policy does not let a profile work, or nil. A profile that is
// locked stays, for its owner to end or for the policy to change.
func (a *Agent) lock(s state.Profile) *ipc.Error {
	p := a.cfg.Policy
	// Each address is one that the device would go to, where another does not answer.
	foreign := slices.IndexFunc(s.URLs(), func(url string) bool { return !p.Servers.AllowsURL(url) })
	switch {
	case !p.Servers.AllowsIssuer(s.Issuer):
		return errServer(s.Issuer)
	case foreign >= 0:
		return errServer(s.URLs()[foreign])
	case !p.AllowsKey(s.ApprovalKey.Provider):
		return errKeyForbidden(s.ApprovalKey.Provider)
	case !p.AllowsKey(s.DeviceKey.Provider):
		return errKeyForbidden(s.DeviceKey.Provider)
	case p.AttestationRequired && !s.Verdict.Attested:
		return errUnproved()
	}
	return nil
}

// locked is lock of a profile that is at work.
func (p *profile) locked() *ipc.Error {
	if s := p.get(); s.State != state.Revoked {
		return p.agent.lock(s)
	}
	return nil
}

// errLocked refuses what a locked profile is asked to do.
func (p *profile) errLocked() error {
	why := p.locked()
	if why == nil {
		return nil
	}
	e := *why
	e.Message = p.account() + " is held off: " + e.Message
	return &e
}

// preferred is the back end that keeps the keys where nobody names one.
func (a *Agent) preferred() hsm.Provider {
	for _, p := range a.chips {
		if a.cfg.Policy.AllowsKey(p.Name()) {
			return p
		}
	}
	return a.chips[0]
}

// worksAt refuses to call an enrollment a success whose profile is locked: the
// server has a name, or a verdict, that nobody could know before.
func (a *Agent) worksAt(id string) error {
	p, ok := a.profile(id)
	if !ok {
		return nil // ended already
	}
	err := p.errLocked()
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		e.Cure += "; to end it: countersign unenroll " + id
	}
	return err
}

// checkLock says in doctor's words that a profile is held off.
func (p *profile) checkLock() (ipc.Check, bool) {
	why := p.locked()
	if why == nil {
		return ipc.Check{}, false
	}
	return p.finding(why.Code, ipc.CheckFail, "held off, and receives nothing: "+why.Message, why.Cure+"; or end it: countersign unenroll "+p.get().ID), true
}

// checkMute refuses a time that the policy does not let anybody mute prompts for.
func (a *Agent) checkMute(d time.Duration) error {
	most := a.cfg.Policy.Mute(maxMute)
	switch {
	case d <= most:
		return nil
	case most == 0:
		return ipc.Errorf(ipc.CodeMuteForbidden, askAdmin, "this computer's policy does not let prompts be muted")
	}
	return ipc.Errorf(ipc.CodeMuteForbidden, "mute them for less, or "+askAdmin, "this computer's policy lets prompts be muted for %v at most", most)
}

package agent

import (
	"strconv"

	"countersign/agent/audit"
	"countersign/agent/state"
)

// Kinds of records of an enrollment's life.
const (
	recordEnrolled = "enrollment.done"
	recordFailed   = "enrollment.failed"
	recordEnded    = "enrollment.ended"
	recordRenewed  = "key.renewed"
)

// enrolled records a new profile.
func enrolled(s state.Profile) audit.Event {
	return audit.Event{Kind: recordEnrolled, UID: &s.UID, Profile: s.ID, Detail: map[string]string{
		"device": s.Device, "server": s.Issuer, "provider": s.ApprovalKey.Provider, "attested": strconv.FormatBool(s.Verdict.Attested),
	}}
}

// failed records an enrollment that the server had heard of and that came to
// nothing.
func failed(e *state.Enrollment) audit.Event {
	return audit.Event{Kind: recordFailed, UID: &e.UID, Detail: map[string]string{"server": e.Server}}
}

// ended records that nothing of a profile is left here.
func ended(p *profile) audit.Event {
	s := p.get()
	return audit.Event{Kind: recordEnded, UID: &s.UID, Profile: s.ID, Detail: map[string]string{"device": s.Device, "reason": s.Reason}}
}

// renewed records a new key.
func renewed(p *profile, slot *keySlot) audit.Event {
	s := p.get()
	return audit.Event{Kind: recordRenewed, UID: &s.UID, Profile: s.ID, Detail: map[string]string{"role": string(slot.role)}}
}

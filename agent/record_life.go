package agent

import (
	"strconv"

	"countersign/agent/audit"
	"countersign/agent/state"
)

// Kinds of records of an enrollment's life.
const (
	recordEnrolled = "enrollment.completed"
	recordEnded    = "enrollment.ended"
	recordRenewed  = "key.renewed"
)

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

// enrolledAt records a new profile.
func enrolledAt(s state.Profile) audit.Event {
	return audit.Event{Kind: recordEnrolled, UID: &s.UID, Profile: s.ID, Detail: map[string]string{
		"device": s.Device, "keys": s.ApprovalKey.Provider, "format": s.Verdict.Format, "attested": strconv.FormatBool(s.Verdict.Attested),
	}}
}

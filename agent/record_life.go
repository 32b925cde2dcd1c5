package agent

import "countersign/agent/audit"

// Kinds of records of an enrollment's life.
const (
	recordEnded   = "enrollment.ended"
	recordRenewed = "key.renewed"
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

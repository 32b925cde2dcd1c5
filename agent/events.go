package agent

import (
	"errors"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/protocol"
)

// Kinds of records in the audit log. They are stable: programs look for them.
const (
	recordMade      = "decision.made"
	recordUnstored  = "decision.unstored"
	recordAnswered  = "decision.answered"
	recordRedeemed  = "otp.redeemed"
	recordRefused   = "request.refused"
	recordIncident  = "session.incident"
	recordWrongPIN  = "pin.wrong"
	recordPINLocked = "pin.locked"
	// Somebody was at the reader or the dialog, and was not the owner.
	recordUnrecognized = "person.unrecognized"
	recordMuted        = "prompting.muted"
	recordQuiet        = "prompting.quiet"
	recordPrompting    = "prompting.resumed"
	recordBlocked      = "client.blocked"
	recordUnblocked    = "client.unblocked"
	recordProfile      = "profile.state"
	recordStarted      = "service.started"
	recordStopped      = "service.stopped"
)

// made records a decision that is signed and not stored yet.
func made(it *item, d *protocol.Decision, compact string) audit.Event {
	return audit.Event{
		Kind: recordMade, UID: &it.uid, Profile: it.profile, Request: it.req.ID, Client: it.req.Client.ID,
		Detail: map[string]string{
			"decision": d.Decision, "reason": d.Reason, "class": d.UV.Class.String(), "method": d.UV.Method, "surface": d.UV.Surface,
			"request_sha256": d.Request, "display_sha256": d.Display, "decision_sha256": protocol.Hash([]byte(compact)),
		},
	}
}

// unstored records that a decision which is on record could not be stored, and
// that its caller was told so.
func unstored(it *item, compact string) audit.Event {
	return audit.Event{
		Kind: recordUnstored, UID: &it.uid, Profile: it.profile, Request: it.req.ID, Client: it.req.Client.ID,
		Detail: map[string]string{"decision_sha256": protocol.Hash([]byte(compact))},
	}
}

// answered records what the server said of a decision.
func answered(s state.Profile, e state.Entry) audit.Event {
	return audit.Event{
		Kind: recordAnswered, UID: &s.UID, Profile: s.ID, Request: e.ID,
		Detail: map[string]string{"state": e.State, "status": e.Status, "code": e.Code, "decision_sha256": protocol.Hash([]byte(e.Decision))},
	}
}

// refusedRequest records a request that was not let in.
func refusedRequest(s state.Profile, sha256 string, why error) audit.Event {
	return audit.Event{Kind: recordRefused, UID: &s.UID, Profile: s.ID, Detail: map[string]string{"request_sha256": sha256, "reason": reasonOf(why)}}
}

// reasonOf is a stable word for why a request was refused.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errBlocked):
		return "blocked"
	case errors.Is(err, errHeldOff):
		return "held_off"
	case errors.Is(err, errCrowded):
		return "crowded"
	case errors.Is(err, errNotForUs):
		return "not_for_us"
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Code
	}
	return "invalid"
}

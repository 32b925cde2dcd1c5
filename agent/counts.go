package agent

import (
	"errors"
	"slices"

	"countersign/agent/metrics"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// counts are what happened since the start, in numbers that belong to nobody: they
// go to a monitoring system. Every label has its values from a fixed list, so that
// no server chooses one.
type counts struct {
	received, refused, ended, decided, answered *metrics.Vec
	wrongPINs, lockedPINs, unrecognized         *metrics.Vec
	polls, incidents                            *metrics.Vec
}

func newCounts() *counts {
	one := func(list ...string) (out [][]string) {
		for _, s := range list {
			out = append(out, []string{s})
		}
		return out
	}
	return &counts{
		received:     metrics.NewVec("countersign_requests_received_total", "Approval requests that were taken in, by their class.", []string{"class"}, one("C0", "C1", "C2", "C3")...),
		refused:      metrics.NewVec("countersign_requests_refused_total", "Approval requests that were not taken in, by reason.", []string{"reason"}, one(refusalReasons()...)...),
		ended:        metrics.NewVec("countersign_requests_ended_total", "Approval requests that ended without a decision of this device, by how.", []string{"status"}, one("expired", "cancelled", "elsewhere")...),
		decided:      metrics.NewVec("countersign_decisions_total", "Decisions that were signed and stored, by decision and class of the request.", []string{"decision", "class"}, decisions()...),
		answered:     metrics.NewVec("countersign_decisions_answered_total", "Decisions that the server has answered, by decision, class of the request and result.", []string{"decision", "class", "result"}),
		wrongPINs:    metrics.NewVec("countersign_pin_wrong_total", "PINs that a chip has refused.", nil),
		lockedPINs:   metrics.NewVec("countersign_pin_locked_total", "Tries of a PIN that a chip has refused unseen, as too many were wrong.", nil),
		unrecognized: metrics.NewVec("countersign_person_unrecognized_total", "Verifications by finger, dialog or plug-in that did not recognize the owner.", nil),
		polls:        metrics.NewVec("countersign_poll_errors_total", "Polls of servers that failed, by how.", []string{"kind"}, one("unreachable", "refused")...),
		incidents:    metrics.NewVec("countersign_session_incidents_total", "Bursts of forged signals that session helpers have reported, by kind.", []string{"kind"}, one(ipc.IncidentKinds()...)...),
	}
}

// decisions are all pairs of a decision and a class.
func decisions() (out [][]string) {
	for _, verb := range []string{protocol.Approve, protocol.Deny} {
		for c := protocol.C0; c <= protocol.C3; c++ {
			out = append(out, []string{verb, c.String()})
		}
	}
	return out
}

// families are the counters.
func (c *counts) families() []metrics.Family {
	all := []*metrics.Vec{c.received, c.refused, c.ended, c.decided, c.answered, c.wrongPINs, c.lockedPINs, c.unrecognized, c.polls, c.incidents}
	out := make([]metrics.Family, len(all))
	for i, v := range all {
		out[i] = v.Family()
	}
	return out
}

// refusalReasons are those of reasonOf that are counted by name.
func refusalReasons() []string {
	return []string{"blocked", "crowded", "held_off", "not_for_us", "invalid"}
}

func (c *counts) refusedRequest(err error) {
	reason := reasonOf(err)
	if !slices.Contains(refusalReasons(), reason) {
		reason = "invalid"
	}
	c.refused.Inc(reason)
}

func (c *counts) endedRequest(status protocol.State) {
	switch status {
	case protocol.StateExpired, protocol.StateCancelled:
		c.ended.Inc(string(status))
	default:
		c.ended.Inc("elsewhere")
	}
}

// answer counts what the server said of a decision. The words of its refusals are
// its own: what they come to is counted.
func (c *counts) answer(e state.Entry, class protocol.Class) {
	result := "refused"
	switch {
	case e.Code == protocol.ProblemWrongNumber:
		result = "wrong_number"
	case e.State == state.Delivered && protocol.State(e.Status).Final():
		result = e.Status
	}
	c.answered.Inc(e.Verb, className(class), result)
}

// className is a class in a label; of a request that is not known any more the
// class is not either.
func className(c protocol.Class) string {
	if c < protocol.C0 || c > protocol.C3 {
		return "unknown"
	}
	return c.String()
}

func (c *counts) poll(err error) {
	switch {
	case err == nil:
	case errors.Is(err, upstream.ErrUnreachable):
		c.polls.Inc("unreachable")
	default:
		c.polls.Inc("refused")
	}
}

func (c *counts) usedPIN(err error) {
	switch {
	case errors.Is(err, hsm.ErrWrongPIN):
		c.wrongPINs.Inc()
	case errors.Is(err, hsm.ErrPINLocked):
		c.lockedPINs.Inc()
	}
}

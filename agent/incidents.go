package agent

import (
	"net/http"
	"slices"
	"strconv"

	"countersign/agent/audit"
	"countersign/ipc"
)

// postIncident records what a session helper noticed, in its own words only as
// far as they are ours: it is a program of the user and may report anything.
func (a *Agent) postIncident(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	var in ipc.Incident
	if err := ipc.Decode(r, &in); err != nil {
		return nil, err
	}
	if !slices.Contains(ipc.IncidentKinds(), in.Kind) || in.Count < 1 {
		return nil, ipc.Errorf(ipc.CodeBadRequest, "", "there is no such kind of incident, or none of it")
	}
	uid := s.Peer.UID
	a.counts.incidents.Inc(in.Kind)
	if a.limits.incidents.admit(uid, BootTime()) {
		a.note(audit.Event{Kind: recordIncident, UID: &uid, Detail: map[string]string{"incident": in.Kind, "count": strconv.Itoa(in.Count), "said_by": "session"}})
	}
	return struct{}{}, nil
}

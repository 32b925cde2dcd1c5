package agent

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"countersign/agent/audit"
	"countersign/ipc"
)

// maxIncidents is how many reports of one user are recorded in a minute: a
// program of theirs must not fill the disk with them.
const maxIncidents = 10

// incidents counts the reports of each user.
type incidents struct {
	mu   sync.Mutex
	seen map[uint32][]time.Duration
}

// admit reports whether another report of a user is recorded at now.
func (i *incidents) admit(uid uint32, now time.Duration) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen == nil {
		i.seen = map[uint32][]time.Duration{}
	}
	recent := slices.DeleteFunc(i.seen[uid], func(at time.Duration) bool { return at <= now-time.Minute })
	if len(recent) >= maxIncidents {
		i.seen[uid] = recent
		return false
	}
	i.seen[uid] = append(recent, now)
	return true
}

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
	if a.reports.admit(uid, BootTime()) {
		a.note(audit.Event{Kind: recordIncident, UID: &uid, Detail: map[string]string{"incident": in.Kind, "count": strconv.Itoa(in.Count)}})
	}
	return struct{}{}, nil
}

package agent

import (
	"strings"

	"countersign/agent/state"
	"countersign/ipc"
)

// isPerson reports whether a uid is a person's: those below are the system's, and
// from the range in between systemd takes users that live as long as a service. A
// directory's people may be above.
func isPerson(uid uint32) bool {
	const first, firstDynamic, lastDynamic = 1000, 61184, 65535
	return uid >= first && (uid < firstDynamic || uid > lastDynamic)
}

// setupOf is what the session helper of a user leads them to: their enrollment at
// the server of this computer's fleet. It is nil where there is none to lead to, or
// they have one.
func (a *Agent) setupOf(uid uint32) *ipc.Setup {
	f := a.cfg.Fleet
	if f.Server == "" || a.cfg.Mode == "system" && !isPerson(uid) {
		return nil
	}
	for _, p := range a.all() {
		if s := p.get(); s.UID == uid && s.State != state.Revoked && a.machine.governs(s) {
			return nil
		}
	}
	return &ipc.Setup{Server: a.machine.host(), URL: f.EnrollURL}
}

// governs reports whether a profile is one at the fleet's server.
func (m *machine) governs(s state.Profile) bool {
	if m.fleet.Server == "" {
		return false
	}
	if own := m.stored(); own != nil {
		if name, _ := own.ServerName(); name == s.Issuer {
			return true
		}
	}
	return strings.TrimSuffix(s.DeviceURL, "/") == strings.TrimSuffix(m.fleet.Server, "/")
}

// setUp tells the session helper of a user that they have got their enrollment at
// the fleet's server.
func (a *Agent) setUp(s state.Profile) {
	a.machine.poke()
	if a.machine.governs(s) {
		a.publish(s.UID, ipc.Event{Kind: ipc.EventSetup, Setup: &ipc.Setup{Server: a.machine.host(), URL: a.cfg.Fleet.EnrollURL, Done: true}})
	}
}

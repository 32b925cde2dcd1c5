package agent

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"countersign/agent/state"
	"countersign/agent/verify"
	"countersign/hsm"
	"countersign/ipc"
)

// Codes of doctor beside those of the keys.
const (
	checkServer  = "server"
	checkClock   = "clock"
	checkMetrics = "metrics_unwritten"
)

// clockTolerance is how far the server's clock may be from ours unmentioned. Nothing
// depends on it: it is what a clock that is set by the network never reaches.
const clockTolerance = 2 * time.Minute

// getDoctor looks at the chips, at each profile's keys, and at its server.
func (a *Agent) getDoctor(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*chipTimeout)
	defer cancel()
	give, err := a.examine(ctx, s)
	if err != nil {
		return nil, err
	}
	defer give()
	checks := append(a.checkComputer(ctx), a.checkVerifiers(ctx, subject(s.Peer))...)
	if c, ok := a.machine.check(a.administers(s)); ok {
		checks = append(checks, c)
	}
	return append(checks, checkProfiles(ctx, a.visible(s))...), nil
}

// checkComputer looks at what belongs to no user.
func (a *Agent) checkComputer(ctx context.Context) (checks []ipc.Check) {
	for _, p := range a.chips {
		checks = append(checks, a.checkChip(ctx, p)...)
	}
	if a.cfg.Bus != nil {
		checks = append(checks, a.checkBus(a.cfg.Bus(ctx)))
	}
	return slices.Concat(checks, a.checkProxyPassword(), a.checkMetrics())
}

func checkProfiles(ctx context.Context, list []*profile) (checks []ipc.Check) {
	for _, p := range list {
		if p.get().State != state.Revoked {
			checks = append(checks, p.checkKeys(ctx)...)
		}
		if locked, is := p.checkLock(); is {
			checks = append(checks, locked)
			continue
		}
		checks = append(checks, p.checkServer())
		for _, look := range []func() (ipc.Check, bool){p.checkTrust, p.checkClock} {
			if c, found := look(); found {
				checks = append(checks, c)
			}
		}
	}
	return checks
}

// checkChip says whether a chip can be used, and what works less well than it
// could.
func (a *Agent) checkChip(ctx context.Context, p hsm.Provider) []ipc.Check {
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	chip, err := p.Status(ctx)
	if err != nil {
		err = onChip(p.Name(), err)
		c := ipc.Check{Code: p.Name(), Status: ipc.CheckFail, Detail: chipError(err).Message}
		return []ipc.Check{a.mendChip(c, p, chip.Where, err)}
	}
	detail := strings.Join(strings.Fields(strings.Join([]string{chip.Where, chip.Vendor, chip.Model, chip.Firmware}, " ")), " ")
	checks := []ipc.Check{{Code: p.Name(), Status: ipc.CheckOK, Detail: detail}}
	for _, n := range chip.Notes {
		checks = append(checks, a.checkNote(n, chip.Where))
	}
	return checks
}

// checkVerifiers says how the caller can be verified. What this computer does
// not have is no fault: the PIN takes its place.
func (a *Agent) checkVerifiers(ctx context.Context, s verify.Subject) []ipc.Check {
	var checks []ipc.Check
	for _, method := range slices.Sorted(maps.Keys(a.cfg.Verifiers)) {
		m := a.cfg.Verifiers[method]
		c := ipc.Check{Code: "verify_" + m.Name, Status: ipc.CheckOK, Detail: "you can be verified by " + m.Name}
		if err := m.Available(ctx, s); err != nil {
			c.Detail = "you are not verified by " + m.Name + ", the PIN takes its place"
			u, ok := errors.AsType[*verify.Unavailable](err)
			if ok {
				c.Detail, c.Cure = c.Detail+": "+u.Text, u.Cure
			}
			if !ok || !u.Absent {
				c.Status = ipc.CheckWarn
			}
		}
		checks = append(checks, c)
	}
	return checks
}

func (p *profile) checkServer() ipc.Check {
	c := ipc.Check{Code: checkServer, Status: ipc.CheckOK, Detail: p.account() + " is connected"}
	if trouble := p.trouble(); trouble != "" {
		c.Status, c.Detail, c.Cure = ipc.CheckFail, p.account()+": "+trouble, "check the network, and that the server runs"
		if fault := p.fault(); fault != nil && p.get().State == state.Active {
			c.Cure = fault.Cure
			if fault.Code != ipc.CodeServer {
				c.Code = fault.Code
			}
		}
		if p.get().State == state.Suspended {
			c.Cure = "ask the administrator of the server to look at it: countersign-server device resume " + p.get().Device + " --data DIR lets it go on; if there is a copy of this computer, enroll again"
		}
		if p.get().State == state.Revoked {
			c.Cure = "ask for a new enrollment link, and: countersign enroll LINK; the old keys go with: countersign keys delete " + p.get().ID
		}
		return c
	}
	return c
}

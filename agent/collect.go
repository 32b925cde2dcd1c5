package agent

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"time"

	"countersign/agent/metrics"
	"countersign/agent/state"
	"countersign/ipc"
)

// lookEvery is how often the chips, the keys in them and the audit log are looked
// at for the metrics: that is work for a chip, and wakes pcscd.
const lookEvery = 10 * time.Minute

// look is what was found then.
type look struct {
	taken time.Duration // by CLOCK_BOOTTIME; 0 is never
	// chips says of each back end whether it answers.
	chips map[string]bool
	// checks are doctor's, of the chips and the keys.
	checks []ipc.Check
	audit  bool
}

// conditions are the codes of doctor that are reported by name, the rest as
// "other".
func conditions() []string {
	return []string{
		kindTPM, kindPIV, checkPINTries, checkPINLocked, checkCleared, checkReplaced, checkFirmware, checkSharedLockout, checkUnattested, checkFloor,
		checkApprovalDue, checkExpired, checkUnsettled, checkServer, checkClock, checkMetrics, checkMachine,
		ipc.CodeServerForbidden, ipc.CodeKeyForbidden, ipc.CodeAttestationRequired,
		ipc.CodeForeignKey, ipc.CodeChipUnavailable, ipc.CodeChipPermission, ipc.CodeChipBusy, ipc.CodeChipNoMemory, ipc.CodeChipReset,
		ipc.CodeChipService, ipc.CodeTokenAbsent, ipc.CodeAdminRequired, checkBusCode, lockedNote,
		"tpm_no_pin_index", "tpm_owner_password", "piv_more_tokens", "piv_old_firmware", "piv_puk_unknown", "piv_factory_settings", otherCondition,
	}
}

const otherCondition = "other"

// collector makes metrics of an agent. It is used by one goroutine.
type collector struct {
	*Agent
	started time.Time
	last    look
}

// exportMetrics writes them until ctx ends.
func (a *Agent) exportMetrics(ctx context.Context) {
	c := &collector{Agent: a, started: time.Now()}
	a.cfg.Metrics.Run(ctx, c.collect)
}

// collect is all metrics as of now.
func (c *collector) collect(ctx context.Context) []metrics.Family {
	if now := BootTime(); c.last.taken == 0 || now-c.last.taken >= lookEvery {
		c.last = c.look(ctx)
		c.last.taken = now
	}
	families := append(c.counts.families(),
		metrics.Family{
			Name: "countersign_build_info", Help: "The version of the service; always 1.", Type: metrics.Gauge,
			Labels: []string{"version", "go_version"}, Series: []metrics.Series{{Labels: []string{c.cfg.Version, runtime.Version()}, Value: 1}},
		},
		metrics.Of("countersign_start_time_seconds", "When the service started, in seconds since 1970. All counters begin again then.", seconds(c.started)),
		metrics.Of("countersign_requests_pending", "Approval requests that wait for a decision.", float64(c.pending.waiting(func(uint32) bool { return true }))),
		metrics.Of("countersign_audit_ok", "Whether the audit log is whole, as of the last look, every ten minutes.", truth(c.last.audit)),
	)
	families = append(families, c.chipFamily())
	families = append(families, c.conditionFamilies()...)
	return append(families, c.profileFamilies()...)
}

// look looks at what takes longer.
func (c *collector) look(ctx context.Context) look {
	l := look{chips: map[string]bool{}}
	for _, p := range c.chips {
		found := c.checkChip(ctx, p)
		l.chips[p.Name()] = found[0].Status == ipc.CheckOK
		l.checks = append(l.checks, found...)
	}
	if c.cfg.Bus != nil {
		l.checks = append(l.checks, c.checkBus(c.cfg.Bus(ctx)))
	}
	for _, p := range c.all() {
		if p.get().State != state.Revoked {
			l.checks = append(l.checks, p.checkKeys(ctx)...)
		}
	}
	report, err := c.cfg.Audit.Verify(ctx)
	l.audit = err == nil && report.OK
	return l
}

func (c *collector) chipFamily() metrics.Family {
	f := metrics.Family{Name: "countersign_chip_reachable", Help: "Whether a security chip answers, as of the last look, every ten minutes.", Type: metrics.Gauge, Labels: []string{"provider"}}
	for name, ok := range c.last.chips {
		f.Series = append(f.Series, metrics.Series{Labels: []string{name}, Value: truth(ok)})
	}
	return f
}

// conditionFamilies says of each code of doctor whether it fails or warns.
func (c *collector) conditionFamilies() []metrics.Family {
	checks := slices.Clone(c.last.checks)
	for _, p := range c.all() {
		locked, is := p.checkLock()
		if !is {
			locked = p.checkServer()
		}
		checks = append(checks, locked)
	}
	checks = append(checks, c.checkMetrics()...)
	if own, is := c.machine.check(false); is {
		checks = append(checks, own)
	}
	return []metrics.Family{
		condition("countersign_degraded", "Whether something does not work, by doctor's code.", checks, ipc.CheckFail),
		condition("countersign_warning", "Whether something works less well than it could, by doctor's code.", checks, ipc.CheckWarn),
	}
}

func condition(name, help string, checks []ipc.Check, status string) metrics.Family {
	is := map[string]bool{}
	for _, c := range checks {
		code := c.Code
		if !slices.Contains(conditions(), code) {
			code = otherCondition
		}
		is[code] = is[code] || c.Status == status
	}
	f := metrics.Family{Name: name, Help: help, Type: metrics.Gauge, Labels: []string{"code"}}
	for _, code := range conditions() {
		f.Series = append(f.Series, metrics.Series{Labels: []string{code}, Value: truth(is[code])})
	}
	return f
}

// profileFamilies counts the profiles, and has the worst of what each has.
func (c *collector) profileFamilies() []metrics.Family {
	var connected, backlog int
	var skew time.Duration
	contact, device, approval := c.started, time.Time{}, time.Time{}
	kinds := map[[5]string]float64{}
	working := 0
	for _, p := range c.all() {
		s := p.get()
		kinds[p.kind()]++
		backlog += p.outbox.backlog()
		if s.State != state.Active || p.locked() != nil {
			continue
		}
		t := p.touch()
		if t.connected {
			connected++
		}
		if working++; working == 1 || t.contact.Before(contact) {
			contact = t.contact
		}
		skew = max(skew, t.skew.Abs())
		device, approval = sooner(device, validityOf(s.DeviceChain).until), sooner(approval, validityOf(s.ApprovalChain).until)
	}
	profiles := metrics.Family{Name: "countersign_profiles", Help: "Enrollments on this computer, by state and by what keeps their approval key.", Type: metrics.Gauge, Labels: []string{"state", "provider", "pin_counter", "touch", "attested"}}
	for k, n := range kinds {
		profiles.Series = append(profiles.Series, metrics.Series{Labels: k[:], Value: n})
	}
	families := []metrics.Family{
		profiles,
		metrics.Of("countersign_profiles_connected", "Active enrollments whose server answered last time.", float64(connected)),
		metrics.Of("countersign_decisions_undelivered", "Decisions that no server has answered yet.", float64(backlog)),
		metrics.Of("countersign_clock_skew_seconds", "The most that a server's clock differs from this one.", skew.Seconds()),
	}
	if working == 0 {
		return families
	}
	return append(families,
		metrics.Of("countersign_last_contact_timestamp_seconds", "When the server that has been silent longest answered last, in seconds since 1970; 0 where one has not since the start.", seconds(contact)),
		metrics.Family{
			Name: "countersign_certificate_expiry_timestamp_seconds", Help: "When the first certificate of a kind of key ends, in seconds since 1970.", Type: metrics.Gauge,
			Labels: []string{"key"}, Series: []metrics.Series{{Labels: []string{"device"}, Value: seconds(device)}, {Labels: []string{"approval"}, Value: seconds(approval)}},
		},
	)
}

// kind is what a profile is counted under.
func (p *profile) kind() [5]string {
	s := p.get()
	st := s.State
	if p.locked() != nil {
		st = "held_off"
	}
	return [5]string{st, s.ApprovalKey.Provider, s.ApprovalKey.Counter, strconv.FormatBool(s.ApprovalKey.Touch), strconv.FormatBool(s.Verdict.Attested)}
}

// contact is how a profile's server was last heard of.
type contact struct {
	connected bool
	contact   time.Time
	skew      time.Duration
}

func (p *profile) touch() contact {
	p.mu.Lock()
	defer p.mu.Unlock()
	return contact{connected: p.reach == nil, contact: p.contacted, skew: p.skew}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// seconds is a time as Prometheus has it; 0 is never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// checkMetrics says in doctor's words that they are not written.
func (a *Agent) checkMetrics() []ipc.Check {
	if a.cfg.Metrics.Err() == nil {
		return nil
	}
	return []ipc.Check{{
		Code: checkMetrics, Status: ipc.CheckWarn, Detail: "the metrics are not written: the service may not write to the directory of metrics.textfile, or it is not there",
		Cure: "give the service the directory, as docs/fleet.md says",
	}}
}

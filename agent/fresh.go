package agent

import (
	"context"
	"crypto/x509"
	"math/rand/v2"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
)

// Codes of doctor for certificates.
const (
	checkApprovalDue = "approval_renewal_due"
	checkExpired     = "certificate_expired"
	checkUnsettled   = "renewal_unsettled"
)

const (
	// freshLook is how often the certificates are looked at: a timer does not
	// count while the computer sleeps, and a clock can be set.
	freshLook = time.Hour
	// After a failure, or a renewal, the next one waits: making a key is work for
	// the chip.
	freshPause    = time.Minute
	maxFreshPause = 6 * time.Hour
	// remindEvery is how often a person is asked to renew the approval key.
	remindEvery = 24 * time.Hour
)

// validity is when a certificate begins and ends.
type validity struct{ from, until time.Time }

func validityOf(chain [][]byte) validity {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return validity{} // a profile with such a chain is not loaded
	}
	return validity{leaf.NotBefore, leaf.NotAfter}
}

// due is when less than a third of the lifetime is left. Part of what is left, a
// fraction of it by chance, goes by before that: a fleet that was enrolled in one
// day does not renew in one minute.
func (v validity) due(chance float64) time.Time {
	third := v.until.Sub(v.from) / 3
	return v.until.Add(-third + time.Duration(chance*float64(third)/10))
}

// refresh has the device key renewed now, as the server says that it is late.
func (p *profile) refresh() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// freshener renews one profile's device key in time, and asks for the renewal of
// its approval key.
type freshener struct {
	*profile
	renew    func(context.Context) error
	chance   float64
	failures int
	// next is before when no renewal is tried, reminded when a person was asked.
	next, reminded time.Time
	// late says that the server's clock has ended what ours has not.
	late bool
}

// keepFresh works until ctx ends.
func (p *profile) keepFresh(ctx context.Context) {
	f := &freshener{profile: p, chance: rand.Float64()} //nolint:gosec // jitter, not a secret
	f.renew = func(ctx context.Context) error {
		_, err := p.renewDevice(ctx)
		return err
	}
	// What is due is so by the server's clock, which the first answer tells.
	timer := time.NewTimer(freshLook)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.clocked:
	case <-f.due:
		f.late = true
	case <-timer.C:
	}
	f.run(ctx)
}

func (f *freshener) run(ctx context.Context) {
	for ctx.Err() == nil {
		timer := time.NewTimer(f.look(ctx, time.Now()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.due:
			f.late = true
		}
		timer.Stop()
	}
}

// look does what is due, and returns when to look again.
func (f *freshener) look(ctx context.Context, now time.Time) time.Duration {
	if f.renewBy(now.Add(f.offset())) != nil && now.Sub(f.reminded) >= remindEvery {
		f.reminded = now
		f.announce()
	}
	if f.get().State != state.Active || f.device().facts.Provider != kindTPM {
		return freshLook // a token makes no key without its owner
	}
	// By the server's clock, where it is known: with a wrong one here a key would be
	// made every minute.
	if at := validityOf(f.get().DeviceChain).due(f.chance).Add(-f.offset()); !f.late && now.Before(at) {
		return min(at.Sub(now), freshLook)
	}
	if now.Before(f.next) {
		return min(f.next.Sub(now), freshLook)
	}
	f.renewNow(ctx)
	f.next = time.Now().Add(f.pause())
	return min(time.Until(f.next), freshLook)
}

// renewNow renews the device key once.
func (f *freshener) renewNow(ctx context.Context) {
	err := f.renew(ctx)
	switch {
	case err == nil:
		f.failures, f.late = 0, false
	case ctx.Err() != nil:
	default:
		f.failures++
		f.agent.cfg.Log.Warn("the device key is not renewed yet", "profile", f.get().ID, "error", err, "again_in", f.pause())
	}
}

// pause doubles with each failure.
func (f *freshener) pause() time.Duration {
	return min(freshPause<<min(f.failures, 10), maxFreshPause)
}

// renewBy is when the approval key's certificate ends, once it is time to renew
// it.
func (p *profile) renewBy(now time.Time) *time.Time {
	s := p.get()
	v := validityOf(s.ApprovalChain)
	if s.State == state.Revoked || now.Before(v.due(0)) {
		return nil
	}
	return &v.until
}

// stale says of the certificates what keeps, or will keep, the profile from
// working.
func (p *profile) stale(now time.Time) (reasons []string) {
	for _, c := range p.certificates(now) {
		reasons = append(reasons, c.Detail)
	}
	return reasons
}

func (p *profile) checkCertificates(now time.Time) (checks []ipc.Check) {
	for _, c := range p.certificates(now) {
		checks = append(checks, p.finding(c.Code, c.Status, c.Detail, c.Cure))
	}
	return checks
}

// certificates says what is not in order with them, without the account.
func (p *profile) certificates(now time.Time) (checks []ipc.Check) {
	s := p.get()
	renew := "countersign renew " + s.ID
	for _, slot := range p.slots() {
		if slot.settling.Load() {
			checks = append(checks, ipc.Check{
				Code: checkUnsettled, Status: ipc.CheckWarn,
				Detail: "the renewal of its " + string(slot.role) + " key is not settled: the server has not acknowledged it yet",
				Cure:   "wait: the service goes on by itself",
			})
		}
	}
	for _, c := range []struct {
		name  string
		chain [][]byte
	}{{"device", s.DeviceChain}, {"approval", s.ApprovalChain}} {
		if v := validityOf(c.chain); now.After(v.until) {
			checks = append(checks, ipc.Check{
				Code: checkExpired, Status: ipc.CheckFail,
				Detail: "the certificate of its " + c.name + " key has expired on " + v.until.Local().Format(time.DateOnly),
				Cure:   renew + "; after 30 days, " + reenroll(s),
			})
		}
	}
	if by := p.renewBy(now); by != nil && !now.After(*by) {
		checks = append(checks, ipc.Check{
			Code: checkApprovalDue, Status: ipc.CheckWarn,
			Detail: "the certificate of its approval key expires on " + by.Local().Format(time.DateOnly), Cure: renew,
		})
	}
	return checks
}

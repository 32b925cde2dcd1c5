package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// profile is one enrollment at work: it polls, judges what arrives, and
// delivers what was decided.
type profile struct {
	agent *Agent
	// deviceSlot and approvalSlot have the two hardware keys.
	deviceSlot, approvalSlot *keySlot
	outbox                   *outbox
	pins                     pinThrottle
	// back wakes who waits for the server to be reached again.
	back chan struct{}
	// due wakes the renewal of the device key before its time.
	due chan struct{}
	// leaving says that somebody ends the enrollment at this moment.
	leaving atomic.Bool
	// trustDue wakes who fetches the server's trust statement; trusted says that
	// it was fetched, or tried, since the start.
	trustDue chan struct{}
	trusted  atomic.Bool
	// clocked is closed when the server's clock is known.
	clocked chan struct{}
	// standing wakes who tells the server whether anybody is prompted.
	standing chan struct{}
	// saving is held while the profile is changed and written, so that what is
	// on disk is what came last. Nobody waits for it who holds mu.
	saving sync.Mutex

	mu     sync.Mutex // guards what follows; held for field access only
	stored state.Profile
	keys   protocol.Keys // the server's
	client *upstream.Client
	reach  error         // of the last exchange
	skew   time.Duration // the server's clock less ours, at the last exchange
	// contacted is when the server answered last, whatever it said.
	contacted time.Time
	// diagnosis is what was found out about the last failure.
	diagnosis diagnosis
	// stop ends run; retired keeps it from starting.
	stop    context.CancelFunc
	retired bool
	// ended is closed when run has ended; nil before it began.
	ended chan struct{}
	// polled is BootTime when the poll that is under way was sent. Only the
	// poll's own goroutine uses it.
	polled time.Duration
	// stays says that nobody was ending the enrollment when the poll was sent.
	// Only the poll's own goroutine uses it.
	stays bool
	// held is closed while the server holds the device off.
	held chan struct{}
	// refused are the hashes of listed requests that were not valid, so that
	// each is logged once.
	refused map[string]bool
	// refusedSince is when the first of them came, or the service started.
	refusedSince time.Duration
}

var errNeverReached = errors.New("not reached yet")

func newProfile(a *Agent, s state.Profile, entries []state.Entry) (*profile, error) {
	keys, err := protocol.ParseJWKS(s.JWKS)
	if err != nil {
		return nil, err
	}
	p := &profile{agent: a, keys: keys, stored: s, reach: errNeverReached, held: make(chan struct{}), refused: map[string]bool{}, refusedSince: BootTime(), back: make(chan struct{}, 1), due: make(chan struct{}, 1), standing: make(chan struct{}, 1), trustDue: make(chan struct{}, 1), clocked: make(chan struct{})}
	device, err := newLazyKey(a.chips.named(s.DeviceKey.Provider), s.DeviceKey, s.Keys.Device, s.DeviceChain)
	if err != nil {
		return nil, err
	}
	approval, err := newLazyKey(a.chips.named(s.ApprovalKey.Provider), s.ApprovalKey, s.Keys.Approval, s.ApprovalChain)
	if err != nil {
		return nil, err
	}
	p.deviceSlot, p.approvalSlot = newKeySlot(protocol.RoleDevice, device), newKeySlot(protocol.RoleApproval, approval)
	p.outbox = newOutbox(func(e state.Entry) error { return a.cfg.State.SaveEntry(s.ID, e) },
		func(seq uint64) error { return a.cfg.State.RemoveEntry(s.ID, seq) }, entries)
	return p, nil
}

// device is the device key as of now.
func (p *profile) device() *lazyKey { return p.deviceSlot.current.Load() }

// approval is the approval key as of now.
func (p *profile) approval() *lazyKey { return p.approvalSlot.current.Load() }

// get returns a copy of what is stored.
func (p *profile) get() state.Profile {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stored
}

// run works until ctx ends or the enrollment is over.
func (p *profile) run(ctx context.Context) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, ok := p.working(cancel)
	if !ok {
		return
	}
	defer close(ended)
	if p.get().State == state.Revoked {
		p.over(outer)
		return
	}
	if why := p.locked(); why != nil {
		p.agent.cfg.Log.Warn("the policy holds a profile off", "profile", p.get().ID, "code", why.Code, "reason", why.Message)
		return
	}
	client, err := p.connect(ctx)
	if err != nil {
		p.agent.cfg.Log.Error("profile cannot connect", "profile", p.get().ID, "error", err)
		return
	}
	defer client.Close()
	p.mu.Lock()
	p.client = client
	p.mu.Unlock()
	var workers sync.WaitGroup
	workers.Go(func() { p.deliver(ctx, client) })
	workers.Go(func() { p.settleRenewals(ctx, client, p.deviceSlot) })
	workers.Go(func() { p.settleRenewals(ctx, client, p.approvalSlot) })
	workers.Go(func() { p.keepFresh(ctx) })
	workers.Go(func() { p.tellQuiet(ctx, client) })
	workers.Go(func() { p.keepTrust(ctx, client) })
	err = upstream.Watch(ctx, p.agent.cfg.Log.With("profile", p.get().ID), client, p)
	cancel()
	workers.Wait()
	if problem, final := upstream.Final(err); final {
		p.revoked(problem)
		p.over(outer)
	}
}

// working remembers how to end the work, and reports whether there is any. The
// caller closes ended when it has done.
func (p *profile) working(stop context.CancelFunc) (ended chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return nil, false
	}
	p.stop, p.ended = stop, make(chan struct{})
	return p.ended, true
}

// retire ends the profile's work for good.
func (p *profile) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	if p.stop != nil {
		p.stop()
	}
}

// halt is retire, and waits for the work's end.
func (p *profile) halt() {
	p.retire()
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// connect makes the client whose TLS handshakes the device key signs.
func (p *profile) connect(ctx context.Context) (*upstream.Client, error) {
	return p.agent.cfg.Network.ForDevice(p.server(), p.certificate(ctx))
}

// certificate is what the device authenticates with until ctx ends.
func (p *profile) certificate(ctx context.Context) tls.Certificate {
	return tls.Certificate{Certificate: p.get().DeviceChain, PrivateKey: hsm.Signer(ctx, p.device(), hsm.Auth{})}
}

// revoked records that the server has ended the enrollment, and ends what
// waits.
func (p *profile) revoked(problem *protocol.Problem) {
	if p.leaving.Load() {
		return // whoever ends it knows
	}
	p.saving.Lock()
	p.mu.Lock()
	if p.stored.State != state.Revoked {
		p.stored.Successor = problem.Successor
	}
	p.mu.Unlock()
	p.saving.Unlock()
	p.setState(state.Revoked, problem.Error())
	p.agent.pending.clear(p.get().ID, false)
	p.agent.cfg.Log.Warn("the server ended the enrollment", "profile", p.get().ID, "code", problem.Code, "reason", problem.Detail)
}

// setState changes the profile's state, durably. Nothing comes after Revoked.
func (p *profile) setState(st, reason string) {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	if p.stored.State == state.Revoked {
		p.mu.Unlock()
		return
	}
	changed := p.stored.State != st
	p.holdOff(p.stored.State, st)
	p.stored.State, p.stored.Reason = st, reason
	s := p.stored
	p.mu.Unlock()
	if !changed {
		return
	}
	if err := p.agent.cfg.State.SaveProfile(s); err != nil {
		p.agent.cfg.Log.Error("profile state not saved", "profile", s.ID, "error", err)
	}
	p.agent.note(audit.Event{Kind: recordProfile, UID: &s.UID, Profile: s.ID, Detail: map[string]string{"state": st}})
	p.announce()
	p.agent.machine.poke()
}

// announce tells the session helpers how the profile stands.
func (p *profile) announce() {
	info := p.info()
	p.agent.publish(info.UID, ipc.Event{Kind: ipc.EventProfile, Profile: &info, Pending: p.agent.pending.waiting(func(uid uint32) bool { return uid == info.UID })})
}

// account is user@host, as people name a profile.
func (p *profile) account() string {
	s := p.get()
	host := s.Issuer
	if u, err := url.Parse(s.Issuer); err == nil {
		host = u.Hostname()
	}
	return s.User + "@" + host
}

// trouble says in words why the profile receives nothing now; "" if it does.
func (p *profile) trouble() string {
	locked, s := p.locked(), p.get()
	switch {
	case s.State == state.Revoked:
		return "the server ended this enrollment (" + s.Reason + ")"
	case locked != nil:
		return "held off: " + locked.Message
	case s.State == state.Suspended:
		return "the server has suspended this device (" + s.Reason + ")"
	case s.State == state.Unconfirmed:
		return "waits for its code to be confirmed at the server"
	}
	if fault := p.fault(); fault != nil {
		return fault.Message
	}
	return ""
}

// info is the profile as the local API shows it.
func (p *profile) info() ipc.Profile {
	s := p.get()
	p.mu.Lock()
	connected := p.reach == nil
	p.mu.Unlock()
	heldOff := ""
	if why := p.locked(); why != nil {
		connected, heldOff = false, why.Code
	}
	return ipc.Profile{
		ID: s.ID, User: s.User, Server: s.Issuer, Device: s.Device, Name: s.Name, UID: s.UID,
		Key: keyInfo(s), State: s.State, Reason: s.Reason,
		Connected: connected && s.State == state.Active, EnrolledAt: s.EnrolledAt, RenewBy: p.renewBy(p.serverNow()), HeldOff: heldOff,
	}
}

func sortProfiles(list []*profile) {
	slices.SortFunc(list, func(a, b *profile) int {
		x, y := a.get(), b.get()
		return cmp.Or(x.EnrolledAt.Compare(y.EnrolledAt), cmp.Compare(x.ID, y.ID))
	})
}

package agent

import (
	"bytes"
	"context"
	"net/http"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
)

func (a *Agent) postPINChange(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodePINChange(r)
	if err != nil {
		return nil, err
	}
	out, err := a.changePIN(r.Context(), s, r.PathValue("profile"), in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// changePIN gives a profile's approval key another PIN: in place where the chip
// can, else by a new key. With a new key an error means that the PIN is what it
// was.
func (a *Agent) changePIN(ctx context.Context, s ipc.Scope, name string, in ipc.PINChange) (ipc.PINChanged, error) {
	defer in.Old.Wipe()
	defer in.New.Wipe()
	p, err := a.resolve(s, name)
	if err != nil {
		return ipc.PINChanged{}, err
	}
	if err := checkPINChange(p, in); err != nil {
		return ipc.PINChanged{}, err
	}
	if !p.approvalSlot.changing.CompareAndSwap(false, true) {
		return ipc.PINChanged{}, ipc.Errorf(ipc.CodeBusy, "wait: the service goes on by itself", "this key is being changed")
	}
	n, err := p.newPIN(ctx, s, in)
	if n == nil {
		p.approvalSlot.changing.Store(false)
	}
	if err != nil {
		return ipc.PINChanged{}, told(stepError(err), err)
	}
	settled := n == nil || n.wait(ctx)
	stored := p.get()
	return ipc.PINChanged{Profile: stored.ID, NewKey: n != nil, Settled: settled, Key: keyInfo(stored)}, nil
}

// checkPINChange refuses what cannot be done, so that no try is spent on it.
func checkPINChange(p *profile, in ipc.PINChange) error {
	if st := p.get().State; st != state.Active {
		return ipc.Errorf(ipc.CodeNotEnrolled, "see: countersign profiles", "the profile is %s, and a PIN is changed while it is active", st)
	}
	if err := p.errLocked(); err != nil {
		return err
	}
	if err := checkPIN(in.Old); err != nil {
		return err
	}
	if err := p.agent.checkNewPIN(in.New, longerPIN); err != nil {
		return err
	}
	if bytes.Equal(in.Old.Reveal(), in.New.Reveal()) {
		return ipc.Errorf(ipc.CodeBadPIN, "choose another", "the new PIN is the present one")
	}
	return nil
}

// newPIN changes the PIN. Where that took a new key it returns the renewal, which
// goes on by itself.
func (p *profile) newPIN(ctx context.Context, s ipc.Scope, in ipc.PINChange) (*renewal, error) {
	if err := p.pins.wait(ctx, true); err != nil {
		return nil, err
	}
	// The caller may have gone, and another come in its place.
	if err := s.Peer.Check(); err != nil {
		return nil, ipc.Errorf(ipc.CodeForbidden, "", "%v", err)
	}
	key, err := p.approval().open(ctx)
	if err != nil {
		return nil, err
	}
	changer, inPlace := key.(hsm.PINChanger)
	if !inPlace {
		n, err := p.renew(ctx, p.approvalSlot, pinPair{old: in.Old, next: in.New})
		return n, unchanged(err)
	}
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	return nil, onChip(p.approval().provider.Name(), p.try(func() error { return changer.ChangePIN(ctx, in.Old, in.New) }))
}

// unchanged says of a renewal that failed that the old key stays.
func unchanged(err error) error {
	if err == nil {
		return nil
	}
	e := *stepError(err)
	e.Message += "; the PIN is what it was"
	return told(&e, err)
}

// try uses the PIN once, if its time has come.
func (p *profile) try(use func() error) error {
	if err := p.pins.check(); err != nil {
		return err
	}
	err := use()
	p.usedPIN("", err)
	return err
}

package agent

import (
	"context"
	"net/http"

	"countersign/agent/state"
	"countersign/ipc"
)

func (a *Agent) postRenewal(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	in, err := ipc.DecodeRenewal(r)
	if err != nil {
		return nil, err
	}
	out, err := a.renewKeys(r.Context(), s, r.PathValue("profile"), in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// renewKeys gives a profile new keys with new certificates and the PIN that it
// has. The approval key comes first: with a wrong PIN nothing is changed.
func (a *Agent) renewKeys(ctx context.Context, s ipc.Scope, name string, in ipc.Renewal) (out ipc.Renewed, err error) {
	defer in.PIN.Wipe()
	defer in.Admin.Wipe()
	p, err := a.resolve(s, name)
	if err != nil {
		return out, err
	}
	if st := p.get().State; st != state.Active {
		return out, ipc.Errorf(ipc.CodeNotEnrolled, "see: countersign profiles", "the profile is %s, and keys are renewed while it is active", st)
	}
	if err := p.errLocked(); err != nil {
		return out, err
	}
	onToken := p.device().facts.Provider != kindTPM
	if in.DeviceOnly && onToken {
		return out, ipc.Errorf(ipc.CodeNotRenewable, reenroll(p.get()), "a device key on a token is not renewed by itself")
	}
	if !in.DeviceOnly {
		if out.Approval, err = p.renewApproval(ctx, s, in); err != nil {
			return out, told(stepError(err), err)
		}
	}
	if !onToken {
		if out.Device, err = p.renewDevice(ctx); err != nil {
			return out, told(stepError(err), err)
		}
	}
	stored := p.get()
	out.Profile, out.Key = stored.ID, keyInfo(stored)
	return out, nil
}

func (p *profile) renewApproval(ctx context.Context, s ipc.Scope, in ipc.Renewal) (ipc.RenewedKey, error) {
	// The new key gets the same PIN.
	if err := p.agent.checkNewPIN(in.PIN, "first: countersign pin change "+p.get().ID); err != nil {
		return ipc.RenewedKey{}, err
	}
	if err := p.pins.wait(ctx, true); err != nil {
		return ipc.RenewedKey{}, err
	}
	// The caller may have gone, and another come in its place.
	if err := s.Peer.Check(); err != nil {
		return ipc.RenewedKey{}, ipc.Errorf(ipc.CodeForbidden, "", "%v", err)
	}
	return p.renewSlot(ctx, p.approvalSlot, pinPair{old: in.PIN, next: in.PIN, admin: in.Admin})
}

// renewDevice takes nobody.
func (p *profile) renewDevice(ctx context.Context) (ipc.RenewedKey, error) {
	return p.renewSlot(ctx, p.deviceSlot, pinPair{})
}

// renewSlot renews one key, and waits a while until the old one is gone.
func (p *profile) renewSlot(ctx context.Context, slot *keySlot, pins pinPair) (ipc.RenewedKey, error) {
	if !slot.changing.CompareAndSwap(false, true) {
		return ipc.RenewedKey{}, errChanging()
	}
	n, err := p.renew(ctx, slot, pins)
	if err != nil {
		slot.changing.Store(false)
		return ipc.RenewedKey{}, err
	}
	return ipc.RenewedKey{Renewed: true, Settled: n.wait(ctx)}, nil
}

func errChanging() *ipc.Error {
	return ipc.Errorf(ipc.CodeBusy, "wait: the service goes on by itself", "this key is being changed")
}

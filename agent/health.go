package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// Codes of doctor for the keys of a profile.
const (
	checkPINTries      = "pin"
	checkPINLocked     = "pin_locked"
	checkCleared       = "tpm_cleared"
	checkReplaced      = "chip_replaced"
	checkFirmware      = "firmware_changed"
	checkSharedLockout = "pin_shared_lockout"
	checkUnattested    = "no_attestation"
	checkFloor         = "floor_unmet"
)

// indexTries is how many PINs a key with an index of its own takes.
const indexTries = 5

// checkKeys says how the keys of a profile stand, and the way back from where
// they do not.
func (p *profile) checkKeys(ctx context.Context) []ipc.Check {
	if lost, is := p.lost(ctx); is {
		return []ipc.Check{lost}
	}
	s := p.get()
	var checks []ipc.Check
	if key, err := p.approval().probe(ctx); err != nil {
		checks = append(checks, p.finding(chipError(err).Code, ipc.CheckFail, "approval key: "+chipError(err).Message, unavailableCure(p.approval().provider, err)))
	} else {
		checks = append(checks, p.checkPIN(ctx, key))
	}
	if p.agent.cfg.Policy.ClassFloor >= protocol.C3 && !s.ApprovalKey.Touch {
		checks = append(checks, p.finding(checkFloor, ipc.CheckFail, "this computer's floor is "+p.agent.cfg.Policy.ClassFloor.String()+", which takes a touch, and the key of this profile does not ask for one: nothing can be approved", askAdmin+", who can set policy.class_floor to C2, or enroll a token with a touch sensor: countersign enroll LINK --key piv"))
	}
	if c, changed := p.checkFirmware(ctx); changed {
		checks = append(checks, c)
	}
	if hsm.Counter(s.ApprovalKey.Counter) == hsm.CounterLockout {
		checks = append(checks, p.finding(checkSharedLockout, ipc.CheckWarn, "wrong PINs are limited only by the lockout that the whole TPM shares, and its owner can reset it", "give countersignd the owner password of the TPM, or a TPM with PIN indices; then "+reenroll(s)))
	}
	checks = append(checks, p.checkCertificates(p.serverNow())...)
	if !s.Verdict.Attested {
		checks = append(checks, p.finding(checkUnattested, ipc.CheckWarn, "the server has no proof of where these keys live: "+keyInfo(s).Unattested, "mend what that says; then "+reenroll(s)))
	}
	return checks
}

func (p *profile) finding(code, status, detail, cure string) ipc.Check {
	return ipc.Check{Code: code, Status: status, Detail: p.account() + ": " + detail, Cure: cure}
}

// lost reports that a key of the profile is not in its chip any more, and why
// as far as that can be told.
func (p *profile) lost(ctx context.Context) (ipc.Check, bool) {
	for _, k := range []*lazyKey{p.device(), p.approval()} {
		ctx, cancel := context.WithTimeout(ctx, chipTimeout)
		_, err := k.probe(ctx)
		if errors.Is(err, hsm.ErrForeignKey) {
			code, detail := k.whyForeign(ctx)
			cancel()
			return p.finding(code, ipc.CheckFail, detail, reenroll(p.get())), true
		}
		cancel()
	}
	return ipc.Check{}, false
}

// whyForeign tells a cleared chip from another one.
func (k *lazyKey) whyForeign(ctx context.Context) (code, detail string) {
	if k.facts.Provider != kindTPM {
		// Another token is not foreign but absent.
		return ipc.CodeForeignKey, "the slot of the token holds another key now: it was reset or overwritten"
	}
	now, err := chipOf(ctx, k.provider)
	was := k.facts.Chip
	switch {
	case err != nil || now.Identity == "" || was.Identity == "":
		return ipc.CodeForeignKey, "its keys are not in this security chip: it was cleared or replaced, or the state directory came from another computer"
	case now.Identity != was.Identity:
		return checkReplaced, fmt.Sprintf("this is another security chip (%s) than its keys are in (%s): a new mainboard, or a state directory of another computer", chipText(now), chipText(was))
	case now.Firmware != was.Firmware:
		return checkCleared, fmt.Sprintf("the TPM was cleared, maybe by its firmware update from %s to %s: its keys are gone", was.Firmware, now.Firmware)
	}
	return checkCleared, "the TPM was cleared since the enrollment: its keys are gone"
}

// checkPIN tells how many tries are left, and what to do about a forgotten PIN.
func (p *profile) checkPIN(ctx context.Context, key hsm.Key) ipc.Check {
	s := p.get()
	c := p.finding(checkPINTries, ipc.CheckOK, "the approval key is in its chip", "if the PIN is forgotten, "+reenroll(s))
	inspector, can := key.(hsm.Inspector)
	if !can {
		return c
	}
	h, err := inspector.Inspect(ctx)
	switch {
	case err != nil:
		e := chipError(onChip(s.ApprovalKey.Provider, err))
		return p.finding(e.Code, ipc.CheckWarn, e.Message, e.Cure)
	case !h.LockedUntil.IsZero():
		return p.finding(checkPINLocked, ipc.CheckFail, "no PIN is taken until about "+h.LockedUntil.Local().Format(time.DateTime)+", after too many wrong ones", "wait, and then try with care; if the PIN is forgotten, "+reenroll(s))
	case h.TriesLeft == 0:
		return p.finding(checkPINLocked, ipc.CheckFail, "the PIN is locked for good after too many wrong ones", lockedAway(s))
	case h.TriesLeft > 0:
		c.Detail = p.account() + ": " + triesText(h.TriesLeft, s.ApprovalKey)
		if h.TriesLeft < indexTries && hsm.Counter(s.ApprovalKey.Counter) == hsm.CounterIndex || h.TriesLeft == 1 {
			c.Status = ipc.CheckWarn
		}
	}
	return c
}

func triesText(left int, k state.KeyFacts) string {
	if hsm.Counter(k.Counter) == hsm.CounterIndex {
		return fmt.Sprintf("%d of %d PIN tries left", left, indexTries)
	}
	return fmt.Sprintf("%d PIN tries left", left)
}

// lockedAway is the way back from a PIN that is locked for good.
func lockedAway(s state.Profile) string {
	if s.ApprovalKey.Provider == kindPIV {
		return "unblock the token with its PUK: ykman piv access unblock-pin; without the PUK, " + reenroll(s)
	}
	return reenroll(s)
}

// checkFirmware compares the firmware with that of the enrollment, which is what
// the server knows. A token's never changes.
func (p *profile) checkFirmware(ctx context.Context) (ipc.Check, bool) {
	s := p.get()
	if s.ApprovalKey.Provider != kindTPM {
		return ipc.Check{}, false
	}
	now, err := p.approval().provider.Status(ctx)
	was := s.ApprovalKey.Chip.Firmware
	if err != nil || was == "" || now.Firmware == was {
		return ipc.Check{}, false
	}
	return p.finding(checkFirmware, ipc.CheckWarn,
		fmt.Sprintf("the firmware of the chip is %s and was %s at the enrollment; the keys work, and the server still judges by the old one", now.Firmware, was),
		"to prove the new one, "+reenroll(s)), true
}

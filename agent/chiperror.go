package agent

import (
	"context"
	"errors"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/mend"
	"countersign/ipc"
)

// chipCase is how one kind of chip error is told. A cure for tokens stands
// apart where it differs.
type chipCase struct {
	err              error
	code, text       string
	cure, cureTokens string
}

// reenrollHint is the way on where it is not known which profile it is about.
const reenrollHint = "enroll again: on the server countersign-server enrollment create --user USER --replace DEVICE --data DIR, and here countersign enroll LINK; countersign doctor names both"

// chipCases are in the order of looking: whatever is an ErrUnavailable too
// comes before it.
func chipCases() []chipCase {
	return []chipCase{
		{
			hsm.ErrPermission, ipc.CodeChipPermission, "countersignd may not open the security chip",
			"give its user the group of the device, which is tss for /dev/tpmrm0: sudo usermod -aG tss USER, then log in again",
			"allow its user org.debian.pcsc-lite.access_pcsc and org.debian.pcsc-lite.access_card in polkit",
		},
		{
			hsm.ErrBusy, ipc.CodeChipBusy, "another program is using the security chip",
			"end what holds the device: sudo fuser -v /dev/tpm0 /dev/tpmrm0, and use the device with a resource manager, /dev/tpmrm0",
			"close the program that holds the token, such as gpg, a browser or ssh-agent, and try again",
		},
		{hsm.ErrNoMemory, ipc.CodeChipNoMemory, "the security chip has no free slot for an object or a session", "use the device with a resource manager, /dev/tpmrm0; what others left loaded goes with: tpm2_flushcontext -t", ""},
		{hsm.ErrReset, ipc.CodeChipReset, "the security chip was reset in the middle", "try again", ""},
		{hsm.ErrNoService, ipc.CodeChipService, "the service in front of the security chip is not running", "sudo systemctl start pcscd.socket", ""},
		{hsm.ErrTokenAbsent, ipc.CodeTokenAbsent, "the token that holds the key is not inserted", "insert it, and try again", ""},
		{hsm.ErrManyTokens, ipc.CodeManyTokens, "several tokens are inserted", "name the one to use: --key piv:SERIAL", ""},
		{hsm.ErrNoTouch, ipc.CodeNoTouch, "the token was not touched in time", "try again, and touch the token while it blinks", ""},
		{hsm.ErrPINRequired, ipc.CodePINRequired, "this takes the PIN", "type the PIN", ""},
		{hsm.ErrBadPIN, ipc.CodeBadPIN, "this cannot be a PIN of the security chip, so it was not asked", "a TPM key takes 6 to 63 bytes", "a token takes 6 to 8 bytes"},
		{
			hsm.ErrAdminRequired, ipc.CodeAdminRequired, "this takes the management key of the token, or the owner password of the TPM",
			"give countersignd the owner password: tpm_owner_password_file in its configuration",
			"give the management key of the token, in hex, at the prompt or as the second line with --pin-stdin",
		},
		{hsm.ErrNoRoom, ipc.CodeNoRoom, "the security chip has no room for another key", "remove keys that are over: countersign keys, and countersign keys delete PROFILE", ""},
		{hsm.ErrUnsupported, ipc.CodeKeyUnsupported, "the security chip cannot make such a key", "choose another --key or --algorithm, or --no-touch", ""},
		{hsm.ErrNoAttestation, ipc.CodeKeyUnsupported, "the security chip cannot prove where its keys live", "enroll with hardware that can", ""},
		{hsm.ErrForeignKey, ipc.CodeForeignKey, "the keys of this profile are not in this computer's security chip: it was cleared or replaced, or the state directory came from elsewhere", reenrollHint, ""},
		{hsm.ErrBadReference, ipc.CodeForeignKey, "what is stored of this key cannot be read", reenrollHint, ""},
		{hsm.ErrUnavailable, ipc.CodeChipUnavailable, "the security chip does not answer", "countersign doctor names what is missing", ""},
		{context.DeadlineExceeded, ipc.CodeChipUnavailable, "the security chip does not answer in time", "countersign doctor names what is missing", ""},
	}
}

// chipError puts what the chip said into words for its owner.
func chipError(err error) *ipc.Error {
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		return e
	}
	if e := pinError(err); e != nil {
		return e
	}
	if e, ok := errors.AsType[*hsm.FactoryError](err); ok {
		return ipc.Errorf(ipc.CodeFactorySettings, e.Command, "the token still has the factory %s, which everybody knows", e.What)
	}
	for _, c := range chipCases() {
		if errors.Is(err, c.err) {
			cure := c.cure
			if c.cureTokens != "" && faultyChip(err) == kindPIV {
				cure = c.cureTokens
			}
			return ipc.Errorf(c.code, cure, "%s (%s)", c.text, reachText(err))
		}
	}
	return ipc.AsError(err)
}

// pinError is the refusal of a PIN in words, or nil.
func pinError(err error) *ipc.Error {
	if e, ok := errors.AsType[*hsm.PINError](err); ok {
		out := ipc.Errorf(ipc.CodeWrongPIN, "try again; the chip counts", "the PIN is wrong")
		if e.TriesLeft >= 0 {
			out.TriesLeft = &e.TriesLeft
		}
		if e.TriesLeft == 0 {
			out.Cure = lockedCure(faultyChip(err))
		}
		return out
	}
	if !errors.Is(err, hsm.ErrPINLocked) {
		return nil
	}
	if e, ok := errors.AsType[*hsm.LockedError](err); ok && !e.Until.IsZero() {
		out := ipc.Errorf(ipc.CodePINLocked, "wait, and then try with care", "the PIN is locked until about %s after too many wrong tries", e.Until.Local().Format(time.DateTime))
		until := e.Until.UTC()
		out.Until = &until
		return out
	}
	return ipc.Errorf(ipc.CodePINLocked, lockedCure(faultyChip(err)), "the PIN is locked after too many wrong tries")
}

// lockedCure is the way on from a key that takes no PIN any more.
func lockedCure(provider string) string {
	if provider == kindPIV {
		return "unblock the token with its PUK: ykman piv access unblock-pin; without the PUK, " + reenrollHint
	}
	return reenrollHint
}

// missingCure is how the service gets a back end.
func missingCure(kind string) string {
	switch kind {
	case kindPIV:
		return "start countersignd with --piv, or set piv = true in its configuration"
	case kindTPM:
		return "name the TPM with countersignd --tpm"
	}
	return "enroll with --key tpm or --key piv"
}

// unavailableCure is the step that gives the service its chip.
func unavailableCure(p hsm.Provider, err error) string {
	if _, off := p.(missing); off {
		return missingCure(p.Name())
	}
	if e := chipError(err); e.Code != ipc.CodeChipUnavailable {
		return e.Cure
	}
	if p.Name() == kindPIV {
		return "insert the token, and see that pcscd runs: sudo apt install pcscd"
	}
	return "turn the TPM on in the firmware settings, or name another with countersignd --tpm"
}

// reenroll is the way back for a profile whose keys are of no use any more.
func reenroll(s state.Profile) string {
	key := ""
	if s.ApprovalKey.Provider != kindTPM {
		key = " --key " + s.ApprovalKey.Provider
	}
	create := mend.Words("countersign-server", "enrollment", "create", "--user", s.User, "--replace", s.Device, "--data", "DIR")
	return "on the server: " + create + ", then here: countersign enroll LINK" + key
}

package agent

import (
	"strings"

	"countersign/hsm"
	"countersign/internal/mend"
	"countersign/ipc"
)

// unit is what the system's service is called.
const unit = "countersignd.service"

// mendChip says what gives the service its chip. Where is as in hsm.Status.
func (a *Agent) mendChip(c ipc.Check, p hsm.Provider, where string, err error) ipc.Check {
	code := chipError(err).Code
	switch {
	case p.Name() == kindPIV && code == ipc.CodeChipService:
		return mendPCSCD(c)
	case p.Name() == kindTPM && code == ipc.CodeChipPermission:
		return a.mendPermission(c, where)
	case p.Name() == kindTPM && code == ipc.CodeChipUnavailable && a.cfg.Mode == "system":
		return mendAbsentTPM(c, where)
	}
	c.Cure = unavailableCure(p, err)
	return c
}

func mendPCSCD(c ipc.Check) ipc.Check {
	if mend.Exists("/usr/sbin/pcscd", "/usr/bin/pcscd") {
		return c.Mended("start the smart card daemon", mend.Enable("pcscd.socket"))
	}
	return c.Mended("install the smart card daemon", mend.Install(mend.PCSCD))
}

// mendPermission gives the service what belongs to the group of the TPM.
func (a *Agent) mendPermission(c ipc.Check, where string) ipc.Check {
	if a.cfg.Mode != "system" {
		return c.Mended("become a member of the group that may open the TPM, and log in again", `sudo usermod --append --groups tss "$(id --user --name)"`)
	}
	kind, path, _ := strings.Cut(where, ":")
	if kind != "device" {
		return c.Mended("let the service's group open the TPM's socket", mend.Then(mend.Words("sudo", "chgrp", "tss", path), mend.Words("sudo", "chmod", "g+rw", path)))
	}
	return c.Mended("have the TPM given to the service's group", mend.Then(
		"sudo udevadm control --reload", "sudo udevadm trigger --action=add --subsystem-match=tpmrm --settle", mend.Restart(unit)))
}

// mendAbsentTPM is for a computer that has no TPM, as far as the service sees.
func mendAbsentTPM(c ipc.Check, where string) ipc.Check {
	kind, path, _ := strings.Cut(where, ":")
	if kind != "device" || mend.Exists(path) {
		c.Cure = "see that the TPM at " + where + " runs, or name another in the configuration: tpm"
		return c
	}
	return c.Mended("turn the TPM on in the firmware settings of this computer; where there is none, use a token",
		mend.Then(`printf 'tpm = ""\npiv = true\n' | sudo tee /etc/countersign/conf.d/50-token.toml`, mend.Restart(unit)))
}

// mendLocked is for a TPM that takes no password.
func (a *Agent) mendLocked(c ipc.Check, where string) ipc.Check {
	const words = "wait, or have the TPM forget wrong tries, which its owner may"
	kind, path, _ := strings.Cut(where, ":")
	if !mend.Exists("/usr/bin/tpm2_dictionarylockout") {
		return c.Mended(words+" with tpm2-tools", mend.Install(mend.TPMTools))
	}
	if kind == "device" {
		return c.Mended(words, mend.Words("sudo", "tpm2_dictionarylockout", "--clear-lockout", "--tcti", where))
	}
	// A software TPM talks to one program at a time.
	return c.Mended(words, mend.Then("sudo systemctl stop "+unit, mend.Words("sudo", "tpm2_dictionarylockout", "--clear-lockout", "--tcti", "swtpm:path="+path), "sudo systemctl start "+unit))
}

// checkBus says whether the system's message bus is there, behind which those are
// who look at fingers and ask for passwords.
func (a *Agent) checkBus(err error) ipc.Check {
	c := ipc.Check{Code: checkBusCode, Status: ipc.CheckOK, Detail: "there is a system message bus"}
	if err == nil {
		return c
	}
	c.Status, c.Detail = ipc.CheckWarn, "there is no system message bus: nobody is verified by fingerprint or polkit, and the PIN takes their place"
	if mend.Exists("/usr/bin/dbus-daemon", "/usr/bin/dbus-broker") {
		return c.Mended("start it", mend.Enable("dbus.socket"))
	}
	return c.Mended("install it", mend.Install(mend.DBus))
}

// checkBusCode is doctor's for the system bus.
const checkBusCode = "system_bus"

// lockedNote is the code of a chip's note that it takes no password now.
const lockedNote = "tpm_locked"

// checkNote is what works less well than it could.
func (a *Agent) checkNote(n hsm.Note, where string) ipc.Check {
	c := ipc.Check{Code: n.Code, Status: ipc.CheckWarn, Detail: n.Text, Cure: n.Cure}
	if n.Code == lockedNote {
		return a.mendLocked(c, where)
	}
	return c
}

package agent

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"countersign/agent/state"
	"countersign/ipc"
	"countersign/protocol"
)

// machineReport says how this computer stands, and nothing about who uses it.
func (a *Agent) machineReport(ctx context.Context) protocol.MachineReport {
	os, version, kernel := system()
	r := protocol.MachineReport{
		Agent: a.cfg.Version, OS: os, OSVersion: version, Kernel: kernel, Checks: []protocol.MachineCheck{},
		Counts: a.machineCounts(), Policy: protocol.MachinePolicy{Hash: a.cfg.Fleet.Policy},
	}
	if a.cfg.Policy.ClassFloor > protocol.C0 {
		r.Policy.Floor = a.cfg.Policy.ClassFloor.String()
	}
	if m := a.machine.stored(); m != nil {
		r.Chip = protocol.Chip{Vendor: m.Key.Chip.Vendor, Model: m.Key.Chip.Model, Firmware: m.Key.Chip.Firmware}
	}
	for _, c := range append(a.checkComputer(ctx), checkProfiles(ctx, a.all())...) {
		r.Checks = worse(r.Checks, c)
	}
	slices.SortFunc(r.Checks, func(x, y protocol.MachineCheck) int { return strings.Compare(x.Code, y.Code) })
	return r
}

// worse adds a finding, of which only the code and the status are told, and of each
// code only the worst.
func worse(list []protocol.MachineCheck, c ipc.Check) []protocol.MachineCheck {
	order := []string{protocol.CheckOK, protocol.CheckWarn, protocol.CheckFail}
	i := slices.IndexFunc(list, func(m protocol.MachineCheck) bool { return m.Code == c.Code })
	if i < 0 {
		return append(list, protocol.MachineCheck{Code: c.Code, Status: c.Status})
	}
	if slices.Index(order, c.Status) > slices.Index(order, list[i].Status) {
		list[i].Status = c.Status
	}
	return list
}

func (a *Agent) machineCounts() (c protocol.MachineCounts) {
	users := map[uint32]bool{}
	for _, p := range a.all() {
		s := p.get()
		switch s.State {
		case state.Active:
			c.Active++
			users[s.UID] = true
		case state.Unconfirmed:
			c.Unconfirmed++
		case state.Suspended:
			c.Suspended++
		case state.Revoked:
			c.Revoked++
		}
		c.Decisions += p.outbox.size()
	}
	c.Users = len(users)
	return c
}

// system names the operating system and its kernel, as far as that can be told.
func system() (id, version, kernel string) {
	id, version = osRelease("/etc/os-release")
	if id == "" {
		id, version = osRelease("/usr/lib/os-release")
	}
	if id == "" {
		id = "linux"
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = clean(unix.ByteSliceToString(u.Release[:]), 128)
	}
	return id, version, kernel
}

// osRelease reads ID and VERSION_ID of os-release(5).
func osRelease(name string) (id, version string) {
	f, err := os.Open(name)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		value = clean(strings.Trim(value, `"'`), 64)
		switch key {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id, version
}

// clean is a text that may be told, or nothing.
func clean(s string, limit int) string {
	if protocol.CheckText("text", s, limit) != nil {
		return ""
	}
	return s
}

// administers reports whether a caller may know what names the hardware for good.
func (a *Agent) administers(s ipc.Scope) bool { return s.Peer.UID == 0 || a.cfg.Mode != "system" }

// getInventory says what this computer is to a fleet.
func (a *Agent) getInventory(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), chipTimeout)
	defer cancel()
	give, err := a.examine(ctx, s)
	if err != nil {
		return nil, err
	}
	defer give()
	out := ipc.Inventory{Version: a.cfg.Version, Mode: a.cfg.Mode, Chips: []ipc.Chip{}}
	out.OS, out.OSVersion, out.Kernel = system()
	for _, p := range a.chips {
		if st, err := p.Status(ctx); err == nil {
			out.Chips = append(out.Chips, ipc.Chip{Provider: p.Name(), Vendor: st.Vendor, Model: st.Model, Firmware: st.Firmware})
		}
	}
	out.Machine = a.machine.info(a.administers(s))
	return out, nil
}

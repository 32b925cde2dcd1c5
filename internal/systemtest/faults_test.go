//go:build system

package systemtest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// check is a finding of doctor.
type check struct{ Code, Status, Detail, Cure, Command string }

// doctor asks doctor as a user does, though without a login: there may be no bus to
// log in with.
func (m *machine) doctor(user string) []check {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	ids := m.bare(ctx, "id -u "+user+" && id -g "+user)
	uid, gid, _ := strings.Cut(strings.TrimSpace(ids), "\n")
	out := m.bare(ctx, "cd / && setpriv --reuid="+uid+" --regid="+gid+" --init-groups env -i HOME=/home/"+user+" PATH=/usr/bin:/bin DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere countersign doctor --json || true")
	var answer struct{ Checks []check }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		m.t.Fatalf("doctor says %s", out)
	}
	return answer.Checks
}

// bare runs a script as root and without systemd.
func (m *machine) bare(ctx context.Context, script string) string {
	m.t.Helper()
	out, err := m.enter(ctx, "bash", "-c", script).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s\n%v:\n%s", script, err, out)
	}
	return string(out)
}

// bad are the findings of a list that something is wrong with, the desktop apart
// that this machine has not.
func bad(list []check) (found []check) {
	for _, c := range list {
		if c.Status != "ok" && c.Code != "display" {
			found = append(found, c)
		}
	}
	return found
}

// TestFaults makes each fault for real, on a machine of its own, has doctor name
// it, and types what doctor prints, word for word, until doctor finds nothing more.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*machine)
		script  string // makes the fault
		code    string // of the finding that names it
	}{
		"no TPM": {
			prepare: func(m *machine) { m.insert() },
			code:    "tpm",
		},
		"locked TPM": {
			prepare: (*machine).tpm,
			script: `systemctl stop countersignd.service
export TPM2TOOLS_TCTI=swtpm:path=/run/tpm/sock
tpm2_nvdefine --size 8 --index-auth right --attributes 'authread|authwrite' 0x1500016 >/dev/null
for i in $(seq 40); do tpm2_nvread --auth wrong 0x1500016 2>&1 | grep -q lockout && break; done
systemctl start countersignd.service`,
			code: "tpm_locked",
		},
		"no group": {
			prepare: (*machine).tpm,
			script:  "userdel tss 2>/dev/null || true; groupdel tss 2>/dev/null || true; ! getent group tss; ! systemctl restart countersignd.service",
			code:    "service",
		},
		"not in the group": {
			prepare: (*machine).tpm,
			script:  "chgrp root /run/tpm/sock; systemctl restart countersignd.service",
			code:    "tpm",
		},
		"no pcscd": {
			prepare: func(m *machine) { m.tpm(); m.insert(); m.run("echo 'piv = true' >/etc/countersign/conf.d/20-piv.toml") },
			script:  "dpkg --force-depends --purge pcscd; systemctl restart countersignd.service",
			code:    "piv",
		},
		"pcscd stopped": {
			prepare: func(m *machine) { m.tpm(); m.insert(); m.run("echo 'piv = true' >/etc/countersign/conf.d/20-piv.toml") },
			script:  "systemctl disable --now --quiet pcscd.socket pcscd.service; systemctl restart countersignd.service",
			code:    "piv",
		},
		"no D-Bus": {
			prepare: (*machine).tpm,
			script:  "systemctl disable --now --quiet dbus.socket 2>/dev/null; systemctl stop dbus.service dbus.socket; systemctl restart countersignd.service",
			code:    "system_bus",
		},
		"socket off": {
			prepare: (*machine).tpm,
			script:  "systemctl disable --now countersignd.socket countersignd.service",
			code:    "service",
		},
		"service masked": {
			prepare: (*machine).tpm,
			script:  "systemctl stop countersignd.socket countersignd.service; systemctl mask countersignd.service",
			code:    "service",
		},
		"all masked": {
			prepare: (*machine).tpm,
			script:  "systemctl stop countersignd.socket countersignd.service; systemctl mask countersignd.service countersignd.socket",
			code:    "service",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t)
			m.run("useradd -m alice")
			c.prepare(m)
			m.install("countersign")
			if c.script != "" {
				m.within(15*time.Second, "doctor finds nothing", func() bool { return len(bad(m.doctor("alice"))) == 0 })
				m.run(c.script)
			}
			m.cure(c.code)
		})
	}
}

// cure does what doctor says, a few times over, since one fault may hide another.
func (m *machine) cure(code string) {
	m.t.Helper()
	found := bad(m.doctor("alice"))
	if len(found) == 0 || found[0].Code != code {
		m.t.Fatalf("doctor finds %+v, and not first %s", found, code)
	}
	for range 3 {
		m.followed(found)
		deadline := time.Now().Add(10 * time.Second)
		for found = bad(m.doctor("alice")); len(found) > 0 && time.Now().Before(deadline); found = bad(m.doctor("alice")) {
			<-time.After(time.Second)
		}
		if len(found) == 0 {
			return
		}
	}
	m.t.Fatalf("doctor still finds %+v", found)
}

// followed types the commands of a list's findings. One fault may have more
// findings, of which one says what mends it.
func (m *machine) followed(found []check) {
	m.t.Helper()
	commands := 0
	for _, c := range found {
		m.t.Logf("%s: %s: %s", c.Status, c.Code, c.Detail)
		if c.Command == "" {
			m.t.Logf("mend it: %s", c.Cure)
			continue
		}
		commands++
		m.t.Logf("$ %s", c.Command)
		m.bare(m.t.Context(), c.Command)
	}
	if commands == 0 {
		m.t.Fatal("doctor has no command")
	}
}

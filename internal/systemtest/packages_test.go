//go:build system

package systemtest

import (
	"strings"
	"testing"
	"time"
)

// TestPackages is what the packages do to each other, to sessions that are there,
// and to the TPM.
func TestPackages(t *testing.T) {
	m := newDesk(t)
	m.enroll("alice")
	kept := m.run("cat /etc/countersign/countersignd.toml")
	if !strings.Contains(kept, "swtpm:") {
		t.Fatalf("the configuration that was there before the package is now\n%s", kept)
	}
	ours := m.indices()
	if strings.Count(ours, "0x") != 1 {
		t.Fatalf("the TPM has %q after an enrollment", ours)
	}
	t.Run("the other variant takes over", func(t *testing.T) {
		m := m.under(t)
		m.install("countersign-static")
		m.active("countersignd.service")
		m.approves("alice")
		if out := m.run("dpkg --purge countersign"); strings.Contains(out, "Removed profile") {
			t.Errorf("the purge of what was replaced says %s", out)
		}
		m.active("countersignd.service")
		m.approves("alice")
		m.run("systemctl is-enabled countersignd.socket countersignd.service; systemctl --global is-enabled countersign-session.service")
	})
	t.Run("installed again", func(t *testing.T) {
		m := m.under(t)
		before := m.sessionPID()
		m.install("countersign")
		m.within(15*time.Second, "a new prompt helper", func() bool { pid := m.sessionPID(); return pid != before && pid != "0" })
		m.approves("alice")
		if now := m.run("cat /etc/countersign/countersignd.toml"); now != kept {
			t.Errorf("the configuration is now\n%s", now)
		}
	})
	t.Run("removed, and purged later", func(t *testing.T) {
		m := m.under(t)
		m.run("dpkg --remove countersign; test -d /var/lib/countersign/profiles; test -x /var/lib/countersign.purge/countersignd")
		if now := m.indices(); now != ours {
			t.Errorf("a removal has left %q of %q in the TPM", now, ours)
		}
		out := m.run("dpkg --purge countersign")
		if !strings.Contains(out, "key for approval, NV index 0x") || !strings.Contains(out, "Removed /var/lib/countersign:") {
			t.Errorf("the purge says\n%s", out)
		}
		if now := m.indices(); now != "" {
			t.Errorf("a purge has left %q in the TPM", now)
		}
	})
	t.Run("for whoever is there", func(t *testing.T) {
		m := m.under(t)
		m.run(`mkdir -p /etc/countersign/conf.d; echo 'tpm = "swtpm:/run/tpm/sock"' >/etc/countersign/conf.d/tpm.toml`)
		m.install("countersign")
		m.within(15*time.Second, "the prompt helper of who is logged in", func() bool { return m.sessionPID() != "0" })
		m.enroll("alice")
		m.approves("alice")
	})
}

// sessionPID is the process of alice's prompt helper, or "0".
func (m *machine) sessionPID() string {
	out, _ := m.user("alice", "systemctl --user show -P MainPID countersign-session.service")
	return out
}

// indices lists what is in the memory of the TPM and is not its maker's, asked for
// by TPM2_GetCapability: nothing of ours takes part.
func (m *machine) indices() string {
	m.t.Helper()
	return m.run(`systemctl stop countersignd.service 2>/dev/null || true
python3 - <<'E'
import socket, struct
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect("/run/tpm/sock")
s.sendall(struct.pack(">HIIIII", 0x8001, 22, 0x17a, 1, 0x01000000, 64))
a = s.recv(4096)
n = struct.unpack(">I", a[15:19])[0]
print(*(hex(h) for h in struct.unpack(">%dI" % n, a[19:19 + 4 * n]) if h < 0x01c00000))
E
systemctl start countersignd.socket 2>/dev/null || true`)
}

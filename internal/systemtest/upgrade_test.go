//go:build system

package systemtest

import (
	"strconv"
	"strings"
	"testing"
)

// TestUpgrade goes from the version before to this one and back, and on again.
// Nothing may be lost on the way: not the enrollment, not the record of what was
// decided, and not what waits while the service changes.
func TestUpgrade(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.server()
	m.run("useradd -m alice; dpkg -i /mnt/packages/previous/countersign_*.deb")
	m.active("countersignd.service")
	if out := m.run("countersign status"); !strings.Contains(out, "v0.4.0") {
		t.Fatalf("status says %s", out)
	}
	m.enroll("alice")
	profiles := m.runAs("alice", "countersign profiles --json | jq -r .profiles[].id")
	m.approves("alice")
	decided := 1
	for _, step := range []string{"this one", "the one before", "this one again"} {
		waiting := m.begin("login", "alice")
		if step == "the one before" {
			m.run("dpkg --force-downgrade -i /mnt/packages/previous/countersign_*.deb")
		} else {
			m.install("countersign")
		}
		m.active("countersignd.service")
		if now := m.runAs("alice", "countersign profiles --json | jq -r .profiles[].id"); now != profiles {
			t.Fatalf("%s has the profiles %s, before there were %s", step, now, profiles)
		}
		m.within(seconds(30), "what waited is there again", func() bool {
			list, _ := m.user("alice", "countersign requests --json")
			return strings.Contains(list, waiting.ID)
		})
		m.approve("alice", waiting)
		m.approves("alice")
		decided += 2
		log := m.runAs("alice", `countersign log --verify >/dev/null && countersign log --json | grep -o '"kind":"decision.made"' | wc -l`)
		if log != strconv.Itoa(decided) {
			t.Errorf("%s: the record has %s decisions of %d", step, log, decided)
		}
	}
}

// TestSettingsStay upgrades over a configuration that somebody changed, and takes
// the package away without purging it.
func TestSettingsStay(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.install("countersign")
	m.run("echo '# ours' >>/etc/countersign/countersignd.toml; echo 'piv = false' >/etc/countersign/conf.d/50-ours.toml")
	m.install("countersign")
	m.run("DEBIAN_FRONTEND=noninteractive dpkg --remove countersign")
	m.run("grep -q '# ours' /etc/countersign/countersignd.toml && test -e /etc/countersign/conf.d/50-ours.toml && test -d /var/lib/countersign")
	m.install("countersign")
	m.active("countersignd.service")
	m.run("grep -q '# ours' /etc/countersign/countersignd.toml")
	// What the group root may read, root's shells may and the service may not.
	m.run("chmod 0640 /etc/countersign/conf.d/50-ours.toml; ! setpriv --groups 0 countersignd --check-config; chmod 0644 /etc/countersign/conf.d/50-ours.toml; setpriv --groups 0 countersignd --check-config")
}

// TestStoppedStays: a server that somebody has stopped, to put a backup back, is not
// started by an upgrade that comes meanwhile; one that runs is started anew. What is
// disabled is left alone, of the agent too.
func TestStoppedStays(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.server()
	pid := func(unit string) string { return m.run("systemctl show -P MainPID " + unit) }
	before := pid("countersign-server.service")
	m.install("countersign-server")
	if now := pid("countersign-server.service"); now == before || now == "0" {
		t.Errorf("the server that ran as %s runs as %s", before, now)
	}
	m.run("systemctl stop countersign-server.service")
	m.install("countersign-server")
	if now := pid("countersign-server.service"); now != "0" {
		t.Error("the server that was stopped runs")
	}
	// A removal that comes to nothing leaves it as it was.
	m.run("systemctl start countersign-server.service; cd /var/lib/dpkg/info; sed -i '$a exit 1' countersign-server.prerm; ! dpkg --remove countersign-server")
	m.active("countersign-server.service")
	m.install("countersign")
	m.run("systemctl disable --now countersignd.service countersignd.socket")
	m.install("countersign")
	m.run("! systemctl is-active countersignd.service countersignd.socket; ! systemctl is-enabled countersignd.service")
}

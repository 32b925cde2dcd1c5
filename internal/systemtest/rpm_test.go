//go:build system

package systemtest

import (
	"strings"
	"testing"
	"time"
)

// newRPMDesk is newDesk from packages for RPM. What they start, they start without
// a word of an administrator's.
func newRPMDesk(t *testing.T) *machine {
	t.Helper()
	m := boot(t)
	m.tpm()
	m.rpmDistribution()
	m.upgrade("", "countersign", "countersign-server")
	m.run(`systemctl is-enabled countersignd.socket countersignd.service; systemctl --global is-enabled countersign-session.service
systemctl is-active countersignd.socket countersignd.service; id countersign; id countersign-server
! systemctl is-enabled countersign-server.service; ! systemctl is-active countersign-server.service`)
	if out, err := m.try("rpm --verify countersign countersign-server"); err != nil || out != "" {
		t.Errorf("what is installed is not what was packaged: %s", out)
	}
	m.serve()
	m.desk()
	return m
}

// TestRPM is the life of an installation by RPM.
func TestRPM(t *testing.T) {
	m := newRPMDesk(t)
	m.enroll("alice")
	m.approves("alice")
	t.Run("installed", func(t *testing.T) {
		m := m.under(t)
		m.forgedSignals()
		m.run("systemctl stop countersignd.service")
		if out := m.runAs("alice", "countersign status"); !strings.Contains(out, "1 profile") {
			t.Errorf("status says %s", out)
		}
		m.active("countersignd.service")
		if s := parseStanding(t, m.run("countersign service status --json")); s.By != "package countersign" || s.State != "running" || len(s.Problems) > 0 {
			t.Errorf("its state is %+v", s)
		}
		if out, err := m.try("countersign service install"); err == nil || !strings.Contains(out, `the package "countersign"`) {
			t.Errorf("service install: %v %s", err, out)
		}
	})
	t.Run("upgraded", func(t *testing.T) { m.under(t).rpmUpgrade() })
	t.Run("exchanged", func(t *testing.T) { m.under(t).rpmExchange() })
	t.Run("erased", func(t *testing.T) { m.under(t).rpmErase() })
	t.Run("purged and erased", func(t *testing.T) { m.under(t).rpmPurge() })
}

// rpmUpgrade upgrades what runs, and goes back.
func (m *machine) rpmUpgrade() {
	m.t.Helper()
	m.run("echo '# ours' >>/etc/countersign/countersignd.toml")
	const stays = "systemctl show -P ActiveEnterTimestampMonotonic countersignd.socket; cat /etc/countersign/*.toml"
	for _, dir := range []string{"next/", ""} {
		waiting := m.begin("login", "alice")
		before, session, server := m.run(stays), m.sessionPID(), m.pid("countersign-server.service")
		out := m.upgrade(dir, "countersign", "countersign-server")
		for _, file := range []string{"countersignd.toml", "countersign-server.toml"} {
			if !strings.Contains(out, file+".rpmnew") {
				m.t.Errorf("nobody says where the new %s is:\n%s", file, out)
			}
		}
		if after := m.run(stays); after != before {
			m.t.Errorf("socket and configuration were\n%s\nand are\n%s", before, after)
		}
		s := parseStanding(m.t, m.run("countersign service status --json"))
		if s.RestartNeeded || s.State != "running" || strings.Contains(s.Running, "99.0.0") != (dir == "next/") {
			m.t.Errorf("what runs is %+v", s)
		}
		if m.pid("countersign-server.service") == server {
			m.t.Error("the server was not started again")
		}
		m.within(15*time.Second, "a new prompt helper", func() bool { pid := m.sessionPID(); return pid != session && pid != "0" })
		m.within(seconds(30), "what waited is there again", func() bool {
			list, _ := m.user("alice", "countersign requests --json")
			return strings.Contains(list, waiting.ID)
		})
		m.approve("alice", waiting)
	}
}

// rpmExchange exchanges one variant for the other, and back with units that an
// administrator has disabled. Nothing is lost, and nothing is decided anew.
func (m *machine) rpmExchange() {
	m.t.Helper()
	configuration := m.run("cat /etc/countersign/countersignd.toml")
	if out, err := m.try("rpm --upgrade /mnt/packages/countersign-static-[0-9]*.rpm 2>&1"); err == nil || !strings.Contains(out, "conflicts with") {
		m.t.Fatalf("both are installed: %s", out)
	}
	if out := m.exchange("countersign-static", "countersign"); strings.Contains(out, "stay in") {
		m.t.Errorf("what came in its place has the state, but it says %s", out)
	}
	m.run(`rpm --query countersign-static; ! rpm --query countersign
systemctl is-enabled countersignd.socket countersignd.service; systemctl --global is-enabled countersign-session.service`)
	m.active("countersignd.service")
	if s := parseStanding(m.t, m.run("countersign service status --json")); s.By != "package countersign-static" || s.RestartNeeded {
		m.t.Errorf("its state is %+v", s)
	}
	m.approves("alice")

	m.run(`systemctl --quiet disable countersignd.service; systemctl --quiet enable countersignd.socket; systemctl --quiet --global disable countersign-session.service`)
	m.exchange("countersign", "countersign-static")
	m.run("systemctl is-enabled countersignd.socket; ! systemctl is-enabled countersignd.service; ! systemctl --global is-enabled countersign-session.service")
	// It runs all the same, and so it is of this version.
	if s := parseStanding(m.t, m.run("countersign service status --json")); s.By != "package countersign" || s.State != "running" || s.RestartNeeded {
		m.t.Errorf("what is disabled, and runs, is %+v", s)
	}
	m.approves("alice")
	if now := m.run("cat /etc/countersign/countersignd.toml"); now != configuration {
		m.t.Errorf("the configuration was\n%s\nand is\n%s", configuration, now)
	}
	m.run("systemctl --quiet enable countersignd.service; systemctl --quiet --global enable countersign-session.service")
}

// rpmErase erases both packages: what the documentation says stays, and is whole
// again when they come back.
func (m *machine) rpmErase() {
	m.t.Helper()
	m.run("rm -f /etc/countersign/*.rpmnew")
	ours := m.indices()
	m.run("systemctl start countersignd.service")
	out := m.run("rpm --erase countersign countersign-server 2>&1")
	for _, says := range []string{
		"stay in /var/lib/countersign,", "countersignd purge --yes", "stay in /var/lib/countersign-server.",
		"countersignd.toml.rpmsave", "countersign-server.toml.rpmsave",
	} {
		if !strings.Contains(out, says) {
			m.t.Errorf("it does not say %q, but\n%s", says, out)
		}
	}
	m.gone("/etc/countersign\n/etc/countersign/countersign-server.toml.rpmsave\n/etc/countersign/countersignd.toml.rpmsave\n/var/lib/countersign\n/var/lib/countersign-server")
	if units := m.runAs("alice", "systemctl --user list-units --all --no-legend '*countersign*'"); units != "" {
		m.t.Errorf("in the session of alice there is still %s", units)
	}
	if now := m.indices(); now != ours {
		m.t.Errorf("the TPM had %q, and has %q", ours, now)
	}
	m.run("test -d /var/lib/countersign/profiles; test -e /var/lib/countersign-server/ca.pem; test -e /etc/countersign/conf.d/10-tpm.toml; id countersign; id countersign-server; test -d /etc/credstore")

	m.upgrade("", "countersign", "countersign-server")
	m.run("cd /etc/countersign; for file in *.rpmsave; do mv $file ${file%.rpmsave}; done; systemctl enable --quiet --now countersign-server.service")
	m.active("countersignd.service")
	m.within(15*time.Second, "the prompt helper of who is logged in", func() bool { return m.sessionPID() != "0" })
	m.approves("alice")
}

// gone checks that of erased packages nothing runs and no unit or link is left, and
// that of files only those stay that are named.
func (m *machine) gone(stays string) {
	m.t.Helper()
	if left := m.run("systemctl list-units --all --no-legend '*countersign*'; pgrep -l countersign || true"); left != "" {
		m.t.Errorf("there is still %s", left)
	}
	if left := m.run(`find / /run -xdev -regextype egrep -regex '/(proc|mnt|sys|dev|tmp|root|home|var/log|var/tmp|opt|usr/local)' -prune -o \( -name '*countersign*' -o -lname '*countersign*' \) -print | sort -u`); left != stays {
		m.t.Errorf("what is left is\n%s\nand not\n%s", left, stays)
	}
}

// rpmPurge purges as an erased package says, word for word, and erases.
func (m *machine) rpmPurge() {
	m.t.Helper()
	out := m.run(`systemctl stop countersignd.socket countersignd.service && runuser -u countersign -G tss -- countersignd purge --yes`)
	if !strings.Contains(out, "key for approval, NV index 0x") {
		m.t.Errorf("the purge says %s", out)
	}
	if out = m.run("rpm --erase countersign 2>&1"); strings.Contains(out, "stay in") {
		m.t.Errorf("nothing stays, but it says %s", out)
	}
	m.run("! test -e /var/lib/countersign")
	if left := m.indices(); left != "" {
		m.t.Errorf("the purge has left %q in the TPM", left)
	}
}

// TestRPMOverService erases a package from a machine whose service is not the
// package's: that goes on.
func TestRPMOverService(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.rpmDistribution()
	m.run(m.unpacked("v0.5.0") + "/countersign service install")
	m.upgrade("", "countersign")
	if out := m.run("rpm --erase countersign 2>&1"); strings.Contains(out, "stay in") {
		t.Errorf("what is there has the state, but it says %s", out)
	}
	s := parseStanding(t, m.run("countersign service status --json"))
	if s.By != "service install" || s.State != "running" || !s.Socket.Answers || len(s.Problems) > 0 {
		t.Errorf("after the package it is %+v", s)
	}
}

// TestRPMPresets: what is enabled is what the machine's presets say, and the server
// is not where they say nothing.
func TestRPMPresets(t *testing.T) {
	m := boot(t)
	m.rpmDistribution()
	m.run(`rm /usr/lib/systemd/*-preset/99-default-disable.preset
printf 'disable countersignd.*\n' >/etc/systemd/system-preset/10-ours.preset
printf 'disable countersign-session.service\n' >/etc/systemd/user-preset/10-ours.preset`)
	for _, dir := range []string{"", "next/"} {
		m.upgrade(dir, "countersign", "countersign-server")
		if state, _ := m.try("systemctl is-enabled countersignd.socket countersignd.service countersign-server.service || systemctl --global is-enabled countersign-session.service"); state != "disabled\ndisabled\ndisabled\ndisabled" {
			t.Errorf("enabled, they are\n%s", state)
		}
		if state, _ := m.try("systemctl is-active countersignd.socket countersignd.service countersign-server.service"); state != "inactive\ninactive\ninactive" {
			t.Errorf("running, they are\n%s", state)
		}
	}
	// A failure is not remembered of what is not there any more.
	m.run("! systemctl start countersign-server.service; systemctl is-failed countersign-server.service; rpm --erase countersign countersign-server")
	m.gone("")
}

// TestRPMImage installs into an image, in which no systemd runs: what is enabled
// elsewhere is enabled there too, nothing fails, and erasing leaves nothing.
func TestRPMImage(t *testing.T) {
	m := boot(t)
	m.rpmDistribution()
	m.run(`mkdir -p /srv/image/run /srv/image/proc /srv/image/sys /srv/image/dev /srv/image/tmp /srv/image/mnt
cp -a /usr /etc /var /bin /sbin /lib* /srv/image; cp -a /dev/null /srv/image/dev; cp -r /mnt/packages /srv/image/mnt/packages`)
	for name, define := range map[string]string{
		"a directory": `there() { rpm --root /srv/image "$@"; }`,
		// Its processes have no other root, and no systemd either.
		"a container": `there() { unshare --mount --pid --fork --propagation private sh -c 'mount --bind /srv/image /srv/image && cd /srv/image && mkdir -p run/old && pivot_root . run/old && cd / && mount -t proc proc /proc && umount -l /run/old && exec rpm "$@"' rpm "$@"; }`,
	} {
		t.Run(name, func(t *testing.T) {
			m := m.under(t)
			for _, dir := range []string{"", "next/"} {
				out := m.run(define + `
there --upgrade /mnt/packages/` + dir + `countersign-[0-9]*.$(uname -m).rpm /mnt/packages/` + dir + `countersign-server-[0-9]*.$(uname -m).rpm 2>&1; there --verify countersign countersign-server`)
				if strings.Contains(out, "scriptlet") {
					t.Errorf("installing says %s", out)
				}
			}
			m.run(`cd /srv/image; grep ^countersign: etc/passwd; grep ^countersign-server: etc/passwd
systemctl --root=/srv/image is-enabled countersignd.socket countersignd.service; ! systemctl --root=/srv/image is-enabled countersign-server.service
systemctl --root=/srv/image --global is-enabled countersign-session.service`)
			if out := m.run(define + "\nthere --erase countersign countersign-server 2>&1"); strings.Contains(out, "scriptlet") {
				t.Errorf("erasing says %s", out)
			}
			if left := m.run(`cd /srv/image && find . -regextype egrep -regex './(mnt|proc|tmp|var/tmp|var/log|root)' -prune -o \( -name '*countersign*' -o -lname '*countersign*' \) -print`); left != "" {
				t.Errorf("there is still\n%s", left)
			}
		})
	}
}

//go:build system

package systemtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// standing is what "countersign service status --json" says.
type standing struct {
	By            string   `json:"installed_by"`
	State         string   `json:"state"`
	Installed     string   `json:"version_installed"`
	Running       string   `json:"version_running"`
	RestartNeeded bool     `json:"restart_needed"`
	Degraded      []string `json:"degraded"`
	Socket        struct{ Answers bool }
	Units         []struct{ Name, Active, Sub, Enabled string }
	Problems      []struct{ Code, Text, Cure string }
}

func (s standing) problem(code string) string {
	for _, p := range s.Problems {
		if p.Code == code {
			return p.Cure
		}
	}
	return ""
}

func parseStanding(t *testing.T, out string) (s standing) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// unpacked builds the two programs as a version of their own and puts them onto
// the machine, as somebody does who has an archive and no package.
func (m *machine) unpacked(version string) (dir string) {
	m.t.Helper()
	dir = "/opt/countersign-" + version
	there := filepath.Join(fmt.Sprintf("/proc/%d/root", m.init), dir)
	if err := os.MkdirAll(there, 0o755); err != nil {
		m.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X countersign/internal/version.version="+version, "-o", there+"/",
		"./cmd/countersign", "./cmd/countersignd")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// system lists the files of the machine that an installation may touch. What the
// tools that make users leave beside their files does not count, nor what other
// programs write about themselves.
func (m *machine) system() string {
	m.t.Helper()
	return m.run(`cd / && find etc usr var/lib ! -path 'etc/*-' ! -name .pwd.lock ! -path 'var/lib/systemd*' ! -path 'usr/share/mime*' \( -type f -exec sha256sum {} + -o -true \) -printf '%p %m %u %g %l\n' | grep -v '^[0-9a-f]\{64\}  var/lib' | sort -k1`)
}

// TestServiceInstall installs, upgrades and removes the service of a machine that
// has no package of it.
func TestServiceInstall(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.run(`useradd -m -s /bin/bash carol; echo 'tpm = "swtpm:/run/tpm/sock"' >/etc/countersign/countersignd.toml`)
	first, second := m.unpacked("v0.5.0"), m.unpacked("v0.5.1")
	before := m.system()

	// Nobody but root, who is told what to type.
	out, err := m.as([]string{"--uid=carol"}, first+"/countersign service install")
	if err == nil || !strings.Contains(out, "what to do: sudo "+first+"/countersign service install") {
		t.Fatalf("carol may install: %v\n%s", err, out)
	}
	m.run("chown carol /usr/local/bin")
	if out, err := m.try(first + "/countersign service install"); err == nil || !strings.Contains(out, "sudo chown root: /usr/local/bin") {
		t.Errorf("it installs where carol may write: %s", out)
	}
	m.run("chown root: /usr/local/bin; " + first + "/countersign service uninstall --purge")
	if after := m.system(); after != before {
		t.Fatalf("what was begun and taken back leaves:\n%s", diff(before, after))
	}

	t.Log(m.run(first + "/countersign service install 2>&1"))
	s := parseStanding(t, m.run("countersign service status --json"))
	if s.State != "running" || !s.Socket.Answers || s.By != "service install" || s.Running != "v0.5.0" || len(s.Degraded)+len(s.Problems) > 0 {
		t.Fatalf("after installing: %+v", s)
	}
	if got := m.run(`p=/proc/$(systemctl show -P MainPID countersignd); stat -c %U $p; grep -E "NoNewPrivs|CapEff|Seccomp:" $p/status | tr -s '\t\n' ' '; readlink $p/exe`); got != "countersign\nCapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 /usr/local/bin/countersignd" {
		t.Errorf("the service runs as\n%s", got)
	}
	if log := m.run("journalctl -b --no-pager -u dbus"); strings.Contains(log, "Unknown username") {
		t.Errorf("the bus was told of a user that there was not:\n%s", log)
	}
	if plan := m.run("countersign service install --dry-run"); strings.Contains(plan, "\n  + ") {
		t.Errorf("something is left to do:\n%s", plan)
	}

	m.upgradeService(second)
	m.run("reboot=1; systemctl is-enabled countersignd.service countersignd.socket; systemctl --global is-enabled countersign-session.service")

	// A stopped service says so, and what starts it.
	m.run("countersign service stop")
	out, err = m.try("countersign service status --json")
	if s = parseStanding(t, out); err == nil || s.State != "stopped" {
		t.Errorf("stopped: %v %+v", err, s)
	}
	m.run(strings.TrimPrefix(s.problem("stopped"), "sudo "))
	if s = parseStanding(t, m.run("countersign service status --json")); s.State != "running" {
		t.Errorf("started: %+v", s)
	}

	// Removal keeps keys and what somebody changed, unless told.
	out = m.run("countersign service uninstall 2>&1")
	if !strings.Contains(out, "stay in /var/lib/countersign") || !strings.Contains(out, "kept: remove /etc/systemd/system/countersignd.socket: somebody changed it") {
		t.Errorf("removal does not say what it keeps:\n%s", out)
	}
	m.run("test -d /var/lib/countersign; id countersign; ! systemctl is-active countersignd.service countersignd.socket; rm /etc/systemd/system/countersignd.socket; systemctl daemon-reload")
	if out, err := m.try(second + "/countersign service status"); err == nil {
		t.Errorf("after removal: %s", out)
	}
	m.run(second + "/countersign service uninstall --purge")
	if after := m.system(); after != before {
		t.Errorf("what was installed and removed leaves:\n%s", diff(before, after))
	}
}

// upgradeService upgrades in place: the new version runs, and a unit that the
// administrator changed stays as it is.
func (m *machine) upgradeService(dir string) {
	m.t.Helper()
	m.run("sed -i 's/^Description=.*/Description=Ours/' /etc/systemd/system/countersignd.socket && systemctl daemon-reload")
	out := m.run(dir + "/countersign service install 2>&1")
	if !strings.HasSuffix(out, "upgrade: done") {
		m.t.Errorf("upgrade:\n%s", out)
	}
	s := parseStanding(m.t, m.run("countersign service status --json"))
	if s.Running != "v0.5.1" || s.Installed != "v0.5.1" || s.RestartNeeded {
		m.t.Errorf("after the upgrade: %+v", s)
	}
	m.run("grep -q Ours /etc/systemd/system/countersignd.socket")
	// A program that is put in place by hand does not run yet.
	m.run("systemctl stop countersignd.service && cp " + strings.TrimSuffix(dir, "1") + "0/countersignd /usr/local/bin/countersignd && systemctl start countersignd.service && cp " + dir + "/countersignd /usr/local/bin/.x && mv /usr/local/bin/.x /usr/local/bin/countersignd")
	s = parseStanding(m.t, m.run("countersign service status --json"))
	if !s.RestartNeeded || s.problem("restart_needed") == "" {
		m.t.Fatalf("nobody says that a restart is needed: %+v", s)
	}
	m.run(strings.ReplaceAll(s.problem("restart_needed"), "sudo ", ""))
	if s = parseStanding(m.t, m.run("countersign service status --json")); s.RestartNeeded || s.Running != "v0.5.1" {
		m.t.Errorf("after the restart: %+v", s)
	}
}

// TestServiceOfPackage: the commands leave a package's files to the package, and
// look after its service; and what was installed before the package came makes way
// for it.
func TestServiceOfPackage(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.run(`echo 'tpm = "swtpm:/run/tpm/sock"' >/etc/countersign/countersignd.toml`)
	dir := m.unpacked("v0.5.0")
	m.run(dir + "/countersign service install")
	m.run("yes | dpkg --force-confold -i /mnt/packages/countersign_*_$(dpkg --print-architecture).deb")
	s := parseStanding(t, m.run("countersign service status --json"))
	cure := s.problem("shadowed")
	if s.By != "service install" || cure == "" {
		t.Fatalf("nobody says that the package is hidden: %+v", s)
	}
	m.run(cure + " --purge")
	s = parseStanding(t, m.run("/usr/bin/countersign service status --json"))
	if s.By != "package countersign" || s.State != "running" || !s.Socket.Answers || len(s.Problems) > 0 {
		t.Errorf("the package is not in its place: %+v", s)
	}
	m.run("id countersign; test -d /var/lib/countersign; ! test -e /var/lib/countersign-install; ! test -e /usr/local/bin/countersign; systemctl is-enabled countersignd.service countersignd.socket; systemctl --global is-enabled countersign-session.service; dpkg -V countersign")
	for _, word := range []string{"install", "uninstall --purge"} {
		out, err := m.try(dir + "/countersign service " + word)
		if err == nil || !strings.Contains(out, "sudo apt-get remove --yes countersign") {
			t.Errorf("%s: %v %s", word, err, out)
		}
	}
	m.run("countersign service stop; ! systemctl is-active countersignd.service; countersign service start; countersign service status")
}

// TestServiceAfterPackage: what a package has left is in nobody's way, and its purge
// takes nothing from the service that has come in its place.
func TestServiceAfterPackage(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.install("countersign")
	m.run("mkdir /var/lib/countersign/kept; chown countersign: /var/lib/countersign/kept; dpkg --remove countersign")
	dir := m.unpacked("v0.5.0")
	m.run(dir + "/countersign service install")
	m.run("dpkg --purge countersign; test -d /var/lib/countersign/kept; ! test -e /var/lib/countersign.purge")
	s := parseStanding(t, m.run("countersign service status --json"))
	if s.By != "service install" || s.State != "running" || !s.Socket.Answers || len(s.Problems) > 0 {
		t.Errorf("after the package's purge: %+v", s)
	}
	m.run("systemctl is-enabled countersignd.service countersignd.socket; systemctl --global is-enabled countersign-session.service")
	m.run("countersign service uninstall --purge; ! test -e /var/lib/countersign")
}

// TestServiceInstallUser installs the service of one user, who needs nobody but
// for the way to the TPM.
func TestServiceInstallUser(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.login("alice")
	m.run("mknod /dev/tpmrm0 c 1 3; chgrp tss /dev/tpmrm0; chmod 660 /dev/tpmrm0")
	dir := m.unpacked("v0.5.0")
	home := func() string {
		out, _ := m.user("alice", `cd && find . \( -name .cache -o -name .bash\* \) -prune -o -type f -exec sha256sum {} + -printf '%p %m\n' -o -printf '%p %m %l\n' | sort`)
		return out
	}
	before := home()
	out := m.runAs("alice", dir+"/countersign service install --user 2>&1")
	if !strings.Contains(out, "sudo usermod --append") {
		t.Errorf("nobody says that the TPM is out of reach:\n%s", out)
	}
	m.within(10*time.Second, "the service of alice", func() bool {
		out, err := m.user("alice", "~/.local/bin/countersign service status --user --json")
		return err == nil && parseStanding(t, out).Socket.Answers
	})
	m.runAs("alice", "systemctl --user is-enabled countersignd.service countersignd.socket countersign-session.service; systemctl --user is-active countersign-session.service")
	helper := m.sessionPID()
	m.runAs("alice", m.unpacked("v0.5.1")+"/countersign service install --user")
	m.within(10*time.Second, "the prompts of the new version", func() bool { pid := m.sessionPID(); return pid != helper && pid != "0" })
	if out, err := m.try("SUDO_UID=1000 " + dir + "/countersign service install --user"); err == nil || !strings.Contains(out, "takes no sudo") {
		t.Errorf("root installs a user's service by mistake: %s", out)
	}
	m.runAs("alice", "~/.local/bin/countersign service uninstall --user --purge")
	if pid := m.sessionPID(); pid != "0" {
		t.Errorf("the prompts go on as process %s", pid)
	}
	if after := home(); after != before {
		t.Errorf("it leaves in alice's home:\n%s", diff(before, after))
	}

	// The system's service is reached again by whoever does not name one.
	m.run(dir + "/countersign service install")
	m.runAs("alice", "countersign status | grep -q 'system service'")

	// A home may be called anything.
	elsewhere := `XDG_CONFIG_HOME=$HOME/.config XDG_STATE_HOME=$HOME/.local/state HOME="$HOME/of R&D; 100%" `
	m.runAs("alice", `mkdir "$HOME/of R&D; 100%"; `+elsewhere+dir+"/countersign service install --user 2>&1")
	m.within(10*time.Second, "the service in another home", func() bool {
		out, err := m.user("alice", elsewhere+dir+"/countersign service status --user --json")
		return err == nil && parseStanding(t, out).Running == "v0.5.0" && parseStanding(t, out).Installed == "v0.5.0"
	})
	m.runAs("alice", "countersign status | grep -q 'user service'; "+elsewhere+dir+"/countersign service uninstall --user --purge && countersign status | grep -q 'system service'")
}

// diff is what is in only one of two lists of lines.
func diff(before, after string) string {
	var out []string
	for sign, pair := range map[string][2]string{"-": {before, after}, "+": {after, before}} {
		for line := range strings.Lines(pair[0]) {
			if !strings.Contains("\n"+pair[1]+"\n", "\n"+strings.TrimSpace(line)+"\n") {
				out = append(out, sign+strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(out, "\n")
}

// TestServiceInstallKilled kills installing and removing at moments all over their
// time on a machine that runs: then the init system and what else is told takes part.
// The same again, or the opposite, ends as if nothing had happened.
func TestServiceInstallKilled(t *testing.T) {
	m := boot(t)
	m.tpm()
	install, remove := m.unpacked("v0.5.0")+"/countersign service install", m.unpacked("v0.5.0")+"/countersign service uninstall --purge"
	bare := m.system()
	began := time.Now()
	m.run(install)
	took := time.Since(began)
	installed := m.system()
	check := func(when, want string, runs bool) {
		t.Helper()
		if now := m.system(); now != want {
			t.Fatalf("%s:\n%s", when, diff(want, now))
		}
		out, err := m.try("/usr/local/bin/countersign service status --json")
		if !runs {
			m.run("! systemctl is-active countersignd.service countersignd.socket")
			return
		}
		if s := parseStanding(t, out); err != nil || s.State != "running" || !s.Socket.Answers || len(s.Problems) > 0 {
			t.Fatalf("%s: %v %+v", when, err, s)
		}
	}
	check("installed", installed, true)
	const moments = 12
	for n := testenv.Stride(moments) - 1; n < moments; n += testenv.Stride(moments) {
		at := fmt.Sprintf("timeout -s KILL %.3f ", (took * time.Duration(n+1) / moments).Seconds())
		when := fmt.Sprintf("at %d of %d", n+1, moments)
		_, _ = m.try(at + remove)
		m.run(install)
		check("removal killed "+when+", then installed", installed, true)
		_, _ = m.try(at + remove)
		m.run(remove + " || { " + install + " && " + remove + "; }")
		check("removal killed "+when+", then removed", bare, false)
		_, _ = m.try(at + install)
		m.run(install)
		check("installation killed "+when+", then installed", installed, true)
		m.run(remove)
		_, _ = m.try(at + install)
		m.run(remove + " || { " + install + " && " + remove + "; }")
		check("installation killed "+when+", then removed", bare, false)
		m.run(install)
	}
}

//go:build system

package systemtest

import (
	"strings"
	"testing"
	"time"
)

// TestStandsBy breaks what the service needs. It must say so, to the user, to the
// administrator and to systemd, and go on by itself once that is mended; and it
// must not restart in a loop meanwhile.
func TestStandsBy(t *testing.T) {
	m := newDesk(t)
	m.enroll("alice")
	for name, c := range map[string]struct{ fault, mend, says string }{
		"a wrong setting": {
			`echo 'flor = "C2"' >/etc/countersign/conf.d/90-wrong.toml`,
			"rm /etc/countersign/conf.d/90-wrong.toml", "flor",
		},
		"a setting of others": {
			`echo 'piv = true' >/etc/countersign/conf.d/90-wrong.toml; chmod 666 /etc/countersign/conf.d/90-wrong.toml`,
			"rm /etc/countersign/conf.d/90-wrong.toml", "90-wrong.toml",
		},
		"state of others": {
			"chown root /var/lib/countersign/profiles; chmod 700 /var/lib/countersign/profiles",
			"chown countersign /var/lib/countersign/profiles", "permission denied",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := m.under(t)
			m.run(c.fault + "; systemctl restart countersignd.service")
			before := m.pid("countersignd.service")
			status := m.runAs("alice", "countersign status; countersign requests 2>&1 || true; countersign doctor || true")
			if !strings.Contains(status, c.says) || !strings.Contains(status, "cannot do its work") {
				t.Errorf("alice reads\n%s", status)
			}
			if out := m.run("systemctl show -P StatusText countersignd.service"); !strings.HasPrefix(out, "degraded: ") || !strings.Contains(out, c.says) {
				t.Errorf("systemd reads %q", out)
			}
			<-time.After(5 * time.Second)
			if after := m.pid("countersignd.service"); after != before || m.run("systemctl show -P NRestarts countersignd.service") != "0" {
				t.Errorf("it was started again: %s, then %s", before, after)
			}
			m.run(c.mend)
			took := m.within(40*time.Second, "it goes on by itself", func() bool {
				out, _ := m.user("alice", "countersign status")
				return strings.Contains(out, "1 profile")
			})
			t.Logf("went on %v after it was mended", took.Round(time.Second))
			if after := m.pid("countersignd.service"); after != before {
				t.Errorf("it was another process")
			}
			m.approves("alice")
		})
	}
}

// TestStartedWronglyIsNoLoop: a drop-in with a wrong flag, and somebody who waits at the
// socket, which has systemd start the service again by itself, do not keep the machine
// busy; and once that is mended the caller has an answer.
func TestStartedWronglyIsNoLoop(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.install("countersign")
	m.active("countersignd.service")
	m.run(`mkdir /etc/systemd/system/countersignd.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/bin/countersignd --bogus\n' >/etc/systemd/system/countersignd.service.d/x.conf
systemctl daemon-reload; systemctl --no-block restart countersignd.service
systemd-run --quiet --unit=caller countersign status`)
	<-time.After(12 * time.Second)
	if starts := m.run("journalctl -b -u countersignd.service --no-pager | grep -c 'unknown flag: --bogus'"); starts != "1" && starts != "2" {
		t.Errorf("it was started %s times in 12 s", starts)
	}
	m.run("rm /etc/systemd/system/countersignd.service.d/x.conf; systemctl daemon-reload; systemctl restart countersignd.service; countersign status")
}

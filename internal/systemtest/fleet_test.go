//go:build system

package systemtest

import (
	"encoding/json"
	"strings"
	"testing"
)

// listed is a machine as its server lists it.
type listed struct {
	ID, Name, State, Endorsement, Agent string
	Attested                            bool
	Users                               int
}

func (m *machine) machines() (list []listed) {
	m.t.Helper()
	out := m.run("countersign-server machine list --data /var/lib/countersign-server --json")
	var answer struct{ Machines []listed }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return answer.Machines
}

// TestFleet installs a package and two files, as an administrator's tools do, and
// touches nothing more: the computer must enroll, be attested and report. Then its
// user logs in, and is led to an enrollment by clicks and keys alone.
func TestFleet(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.server()
	m.run(`for f in swtpm-localca-rootca-cert issuercert; do cp /var/lib/swtpm/ca/$f.pem /tmp/$f.pem; chmod 644 /tmp/$f.pem; countersign-server attestation root add /tmp/$f.pem --data /var/lib/countersign-server; done
mkdir -p /etc/credstore && chmod 700 /etc/credstore && cd /etc/credstore
countersign-server machine token create --uses 1 --ttl 1h --data /var/lib/countersign-server --json >/root/token.json
(umask 077; jq -r .token /root/token.json >/etc/credstore/countersign.enrollment-token)
printf '[fleet]\nserver = "%s"\nca = "%s"\nenroll = "token"\nenroll_url = "https://portal.example.org/second-factor"\n' "$(jq -r .server /root/token.json)" "$(jq -r .ca /root/token.json)" >/etc/countersign/conf.d/20-fleet.toml`)
	m.install("countersign")
	took := m.within(seconds(60), "the machine enrolls by itself", func() bool { return len(m.machines()) == 1 })
	t.Logf("enrolled %v after the package was installed", took)
	m.within(seconds(60), "it reports", func() bool { return m.machines()[0].Agent != "" })
	got := m.machines()[0]
	if got.State != "active" || !got.Attested || got.Endorsement != "certificate" || got.Name != "desk" {
		t.Errorf("the server lists %+v", got)
	}
	t.Logf("listed: %+v", got)
	m.reboot()
	m.within(seconds(30), "doctor says that it is enrolled", func() bool {
		out, _ := m.try("countersign doctor --json | jq -r .machine.state")
		return out == "enrolled"
	})
	t.Run("its user", func(t *testing.T) { m.under(t).led() })
}

// led is the first login of the machine's user.
func (m *machine) led() {
	m.t.Helper()
	m.run("useradd -m -s /bin/bash alice; install -d -o alice /srv/pages")
	m.run(`cat >/usr/local/bin/browser <<'E'
#!/bin/sh
echo "$1" >/srv/pages/opened
E
chmod 755 /usr/local/bin/browser
printf '[Desktop Entry]\nType=Application\nName=Browser\nExec=/usr/local/bin/browser %%u\nMimeType=x-scheme-handler/https;\n' >/usr/share/applications/browser.desktop
printf '[Default Applications]\nx-scheme-handler/https=browser.desktop\n' >/usr/share/applications/mimeapps.list`)
	m.login("alice")
	m.clickButton(149)
	m.within(seconds(10), "the page is opened", func() bool {
		out, _ := m.try("cat /srv/pages/opened")
		return out == "https://portal.example.org/second-factor"
	})
	// The portal shows a link, and she clicks it.
	link := m.run("countersign-server enrollment create --user alice --data /var/lib/countersign-server --json | jq -r .uri")
	m.run(`cat >/srv/click <<'E'
#!/bin/sh
gio open '` + link + `'
sleep 60
E
chmod 755 /srv/click; systemd-run --quiet --unit=click --uid=alice -p PAMName=login -E DISPLAY=:7 -E HOME=/home/alice /srv/click`)
	for _, keys := range []string{"xdotool key --delay 60 shift+Tab Return", "xdotool type --delay 60 " + pin + "; xdotool key Return", "xdotool type --delay 60 " + pin + "; xdotool key Return"} {
		m.within(seconds(15), "a window of Countersign", func() bool {
			name, _ := m.user("alice", "xdotool getwindowfocus getwindowname")
			return strings.Contains(name, "Countersign")
		})
		m.runAs("alice", "sleep 1.5; "+keys+"; sleep 1")
	}
	m.within(seconds(20), "alice is enrolled", func() bool {
		out, _ := m.user("alice", "countersign profiles --json")
		return strings.Contains(out, `"alice"`)
	})
	m.approves("alice")
	m.within(seconds(60), "the server knows of her", func() bool { return m.machines()[0].Users == 1 })
	m.t.Log(m.run("countersign-server machine list --data /var/lib/countersign-server"))
}

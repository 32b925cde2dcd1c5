//go:build system

package systemtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const pin = "271828"

// TestLife is the whole life of an installation, as its user and its administrator
// see it: they install it, enroll, approve by the notification, upgrade, have it
// crash and the machine reboot, and take it away.
func TestLife(t *testing.T) {
	m := newDesk(t)
	m.enroll("alice")
	t.Run("approved by the notification", func(t *testing.T) {
		m := m.under(t)
		tx := m.begin("login", "alice")
		m.clickOpen()
		m.answerPrompt(tx.Number)
		m.approved(tx)
	})
	t.Run("started by its socket", func(t *testing.T) {
		m := m.under(t)
		m.run("systemctl stop countersignd.service")
		if out := m.runAs("alice", "countersign status"); !strings.Contains(out, "1 profile") {
			t.Errorf("status says %s", out)
		}
		m.active("countersignd.service")
	})
	t.Run("a hang", func(t *testing.T) {
		m := m.under(t)
		before := m.pid("countersignd.service")
		m.run("kill -STOP " + before)
		took := m.within(seconds(35), "the watchdog starts it again", func() bool {
			pid := m.pid("countersignd.service")
			return pid != before && pid != "0"
		})
		t.Logf("started again %v after SIGSTOP", took.Round(time.Second))
		m.approves("alice")
	})
	t.Run("a hang that nobody notices", func(t *testing.T) {
		// Nobody calls: what starts it again is systemd, and not its socket.
		m := m.under(t)
		m.run("systemctl restart countersign-server.service")
		before := m.pid("countersign-server.service")
		m.run("kill -STOP " + before)
		m.within(seconds(35), "the watchdog starts the server again", func() bool {
			pid := m.pid("countersign-server.service")
			return pid != before && pid != "0"
		})
	})
	t.Run("a crash of the server", func(t *testing.T) {
		m := m.under(t)
		// With the second, Go ends with the exit status that a panic has.
		for _, signal := range []string{"KILL", "ABRT"} {
			before := m.pid("countersign-server.service")
			m.run("kill -" + signal + " " + before)
			m.within(seconds(10), "it is started again", func() bool {
				pid := m.pid("countersign-server.service")
				return pid != before && pid != "0"
			})
		}
	})
	t.Run("a crash", func(t *testing.T) {
		m := m.under(t)
		for _, signal := range []string{"KILL", "SEGV"} {
			before := m.pid("countersignd.service")
			m.run("kill -" + signal + " " + before)
			m.within(seconds(10), "it is started again", func() bool { pid := m.pid("countersignd.service"); return pid != before && pid != "0" })
			m.approves("alice")
		}
	})
	t.Run("many crashes while somebody calls", func(t *testing.T) {
		m := m.under(t)
		// As often as systemd's own limits would have it give up.
		m.run(`for i in $(seq 8); do
  pid=$(systemctl show -P MainPID countersignd.service); kill -KILL $pid
  for j in $(seq 30); do timeout 0.05 runuser -u alice -- countersign status >/dev/null 2>&1 || true; done &
  until now=$(systemctl show -P MainPID countersignd.service) && [ $now != $pid ] && [ $now != 0 ]; do sleep 0.05; done
done; wait`)
		m.active("countersignd.socket")
		m.approves("alice")
	})
	t.Run("a reboot", func(t *testing.T) {
		m := m.under(t)
		m.reboot()
		m.active("countersignd.service")
		m.login("alice")
		m.approves("alice")
	})
	t.Run("purged", func(t *testing.T) { m.under(t).purge() })
}

// newDesk is a machine with everything on it that a user of one has, and with the
// Token Server too.
func newDesk(t *testing.T) *machine {
	t.Helper()
	m := boot(t)
	m.tpm()
	m.server()
	m.install("countersign")
	m.desk()
	return m
}

// desk checks what was installed, and brings alice to it.
func (m *machine) desk() {
	m.t.Helper()
	m.active("countersignd.socket")
	m.active("countersignd.service")
	m.active("countersign-server.service")
	m.login("alice")
	m.within(seconds(10), "the prompt helper of alice", func() bool {
		out, _ := m.user("alice", "systemctl --user is-active countersign-session")
		return out == "active"
	})
}

// under is the machine as a part of the test uses it.
func (m *machine) under(t *testing.T) *machine {
	part := *m
	part.t = t
	t.Cleanup(func() { m.init = part.init }) // it may have booted again
	return &part
}

func (m *machine) active(unit string) {
	m.t.Helper()
	if got, _ := m.try("systemctl is-active " + unit); got != "active" {
		m.t.Fatalf("%s is %s:\n%s", unit, got, m.run("systemctl status "+unit+" || true"))
	}
}

func (m *machine) pid(unit string) string {
	m.t.Helper()
	return m.run("systemctl show -P MainPID " + unit)
}

// enroll enrolls a user as they would with a link from a page.
func (m *machine) enroll(user string) {
	m.t.Helper()
	link := m.run("countersign-server enrollment create --user " + user + " --data /var/lib/countersign-server --json | jq -r .uri")
	out := m.runAs(user, fmt.Sprintf("echo %s | countersign enroll '%s' --pin-stdin --json", pin, link))
	if !strings.Contains(out, `"profile"`) {
		m.t.Fatalf("enroll says %s", out)
	}
}

// transaction is one as the relying party sees it.
type transaction struct{ ID, Number, Status string }

// portal is a shell's word for the relying party's HTTP client.
const portal = `portal() { curl -sS --cacert /var/lib/countersign-server/ca.pem -u "$(jq -r .client_id /root/client.json):$(jq -r .client_secret /root/client.json)" "$@"; }
`

// begin starts a transaction as the relying party does, and waits until the
// user's computer has it.
func (m *machine) begin(kind, user string) transaction {
	m.t.Helper()
	out := m.run(portal + `jq -n '{user: "` + user + `", type: "` + kind + `", message: "Log in"}' | portal -H 'Content-Type: application/json' --data @- https://127.0.0.1:8443/v1/transactions`)
	var tx transaction
	if err := json.Unmarshal([]byte(out), &tx); err != nil || tx.ID == "" {
		m.t.Fatalf("the server says %s", out)
	}
	m.within(seconds(30), "the request arrives", func() bool {
		list, _ := m.user(user, "countersign requests --json")
		return strings.Contains(list, tx.ID)
	})
	return tx
}

// approves approves a transaction with the command.
func (m *machine) approves(user string) {
	m.t.Helper()
	m.approve(user, m.begin("login", user))
}

// approve approves a transaction that has arrived.
func (m *machine) approve(user string, tx transaction) {
	m.t.Helper()
	m.runAs(user, fmt.Sprintf("echo %s | countersign approve %s --number %s --pin-stdin", pin, tx.ID, tx.Number))
	m.approved(tx)
}

// approved checks what the relying party has: the outcome, and evidence that
// verifies.
func (m *machine) approved(tx transaction) {
	m.t.Helper()
	out := m.run(portal + `portal -H 'Prefer: wait=20' https://127.0.0.1:8443/v1/transactions/` + tx.ID + ` >/root/answer.json; jq -r .status /root/answer.json
countersign-server evidence verify /root/answer.json --ca /var/lib/countersign-server/ca.pem`)
	if !strings.HasPrefix(out, "approved\n") || !strings.Contains(out, "Verified") {
		m.t.Fatalf("the relying party has %s", out)
	}
}

// clickOpen clicks the button of the notification of a request.
func (m *machine) clickOpen() { m.t.Helper(); m.clickButton(56) }

// clickButton clicks a button of the notification that is on the screen, whose
// middle is so far from the right edge.
func (m *machine) clickButton(right int) {
	m.t.Helper()
	var window map[string]int
	m.within(seconds(10), "a notification is on the screen", func() bool {
		out, _ := m.user("alice", `xdotool search --onlyvisible --class xfce4-notifyd getwindowgeometry --shell %@`)
		window = geometry(out)
		return window["WIDTH"] > 100
	})
	m.t.Logf("the notification is at %v", window)
	m.runAs("alice", fmt.Sprintf("sleep 0.5; xdotool mousemove %d %d sleep 0.2 click 1", window["X"]+window["WIDTH"]-right, window["Y"]+window["HEIGHT"]-31))
}

// geometry reads the largest window that xdotool tells of.
func geometry(out string) map[string]int {
	best, now := map[string]int{}, map[string]int{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "WINDOW" {
			now = map[string]int{}
		}
		now[name], _ = strconv.Atoi(value)
		if now["WIDTH"] > best["WIDTH"] {
			best = now
		}
	}
	return best
}

// answerPrompt answers the prompt's three windows, each once it takes answers.
func (m *machine) answerPrompt(number string) {
	m.t.Helper()
	for _, step := range []struct{ title, keys string }{
		{"Countersign request", "xdotool key --delay 60 shift+Tab Return"},
		{"Countersign number", "xdotool type --delay 60 " + number + "; xdotool key Return"},
		{"Countersign PIN", "xdotool type --delay 60 " + pin + "; xdotool key Return"},
	} {
		m.within(seconds(10), "the window "+step.title, func() bool {
			name, _ := m.user("alice", "xdotool getwindowfocus getwindowname")
			return strings.Contains(name, step.title)
		})
		m.runAs("alice", "sleep 1.5; "+step.keys)
	}
}

// purge takes everything away, and looks for what stayed.
func (m *machine) purge() {
	m.t.Helper()
	m.run("countersignd=$(command -v countersignd); DEBIAN_FRONTEND=noninteractive dpkg --purge countersign countersign-server")
	left, _ := m.try(`systemctl daemon-reload
find / -xdev \( -path /proc -o -path /mnt -o -path /sys -o -path /var/lib/dpkg -o -path /var/log -o -path /tmp -o -path /root -o -path /home -o -path /usr/local \) -prune -o -name '*countersign*' -print
systemctl list-units --all --no-legend '*countersign*'`)
	if left != "" {
		m.t.Errorf("after the purge there is still\n%s", left)
	}
}

// TestServerWithoutConfiguration: one that nobody has told where to listen says so
// and stays away, and does not try once a second.
func TestServerWithoutConfiguration(t *testing.T) {
	m := boot(t)
	m.install("countersign-server")
	out, err := m.try("systemctl start countersign-server.service")
	if err == nil {
		t.Errorf("it started: %s", out)
	}
	<-time.After(3 * time.Second)
	state := m.run("systemctl show -P ActiveState countersign-server.service; systemctl show -P NRestarts countersign-server.service")
	if out := m.run("systemctl status countersign-server.service || true"); state != "failed\n0" || !strings.Contains(out, "where to serve is missing") {
		t.Errorf("systemd says %s", out)
	}
}

//go:build system

package systemtest

import (
	"fmt"
	"strings"
	"testing"
)

// finger approves on a terminal, and returns when the finger is asked for.
const finger = `cat >/srv/approve <<'E'
#!/bin/bash
(sleep 1; echo; sleep 20) | script -qec "countersign approve %s --number %s" /dev/null >/tmp/approve.log 2>&1
E
chmod 755 /srv/approve; systemd-run --quiet --uid=alice -p PAMName=login /srv/approve
until grep -q 'Place your finger' /tmp/approve.log; do sleep 0.1; done`

// TestMeans approves by whatever else there is than the PIN of a TPM's key, from
// within the service's sandbox: a token behind pcscd, and a finger behind fprintd.
func TestMeans(t *testing.T) {
	m := newDesk(t)
	t.Run("a token", func(t *testing.T) {
		m := m.under(t)
		m.insert()
		m.run("echo 'piv = true' >/etc/countersign/conf.d/20-piv.toml; systemctl restart countersignd.service")
		m.within(seconds(15), "the token is seen", func() bool { return len(bad(m.doctor("alice"))) == 0 })
		link := m.run("countersign-server enrollment create --user alice --data /var/lib/countersign-server --json | jq -r .uri")
		out := m.runAs("alice", fmt.Sprintf("printf '%s\\n%s\\n' | countersign enroll '%s' --key piv --pin-stdin --json", pin, admin, link))
		if !strings.Contains(out, `"device_provider":"tpm"`) || !strings.Contains(out, `"touch":true`) {
			t.Fatalf("enroll says %s", out)
		}
		m.approves("alice")
	})
	t.Run("a finger", func(t *testing.T) {
		m := m.under(t)
		m.learn("alice", "right")
		m.run("countersign-server type set finger --method push_with_fingerprint --class C1 --ttl 120s --data /var/lib/countersign-server")
		tx := m.begin("finger", "alice")
		// The empty line asks for the finger in place of the PIN.
		m.run(fmt.Sprintf(finger, tx.ID, tx.Number))
		m.scan("wrong")
		m.run("until [ $(grep -o 'Place your finger' /tmp/approve.log | wc -l) -ge 2 ]; do sleep 0.1; done")
		m.scan("right")
		m.approved(tx)
	})
}

// learn has the real fprintd learn a finger of a user's, with a virtual reader of
// its library's.
func (m *machine) learn(user, finger string) {
	m.t.Helper()
	m.run(`mkdir -p /etc/systemd/system/fprintd.service.d && cat >/etc/systemd/system/fprintd.service.d/virtual.conf <<'E'
[Service]
RuntimeDirectory=reader
Environment=FP_VIRTUAL_DEVICE_STORAGE=/run/reader/socket
ExecStart=
ExecStart=/usr/libexec/fprintd --no-timeout
E
cat >/usr/local/bin/scan <<'E'
#!/usr/bin/python3
import socket, sys, time
for i in range(100):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect("/run/reader/socket")
        s.sendall(b"SCAN " + sys.argv[1].encode()); s.shutdown(socket.SHUT_WR); s.recv(10); break
    except OSError: time.sleep(0.1)
E
chmod 755 /usr/local/bin/scan
systemctl daemon-reload; systemctl restart fprintd.service
fprintd-enroll -f right-index-finger ` + user + ` >/tmp/enroll.log 2>&1 &
until grep -q 'enroll-completed' /tmp/enroll.log; do timeout 2 scan ` + finger + ` || true; done
wait`)
}

// scan puts a finger onto the reader.
func (m *machine) scan(finger string) {
	m.t.Helper()
	m.run("timeout 10 scan " + finger)
}

//go:build system

package systemtest

import (
	"strings"
	"testing"
	"time"
)

// TestLife is the whole life of an installation, as its user and its administrator
// see it.
func TestLife(t *testing.T) {
	m := boot(t)
	m.tpm()
	m.server()
	m.install("countersign")
	for _, unit := range []string{"countersignd.socket", "countersignd.service", "countersign-server.service"} {
		if got := m.run("systemctl is-active " + unit + " || systemctl status " + unit); got != "active" {
			t.Fatalf("%s is %s", unit, got)
		}
	}
	m.login("alice")
	m.within(10*time.Second, "the prompt helper of alice", func() bool {
		out, _ := m.user("alice", "systemctl --user is-active countersign-session")
		return out == "active"
	})
	t.Log(m.runAs("alice", "countersign status; countersign doctor || true"))
	t.Log(m.run("systemd-analyze security countersignd --no-pager | grep -v ✓; systemd-analyze security countersign-server --no-pager | tail -3"))
	m.run("mknod /dev/tpmrm0 c 1 3; chgrp tss /dev/tpmrm0; chmod 660 /dev/tpmrm0; systemctl restart countersignd; ls -la /proc/$(systemctl show -P MainPID countersignd)/root/dev")
	t.Log(m.runAs("alice", "countersign status"), m.run("ls -la /proc/$(systemctl show -P MainPID countersignd)/root/dev"))
	if out := m.run("systemctl stop countersignd.service; countersign status --json; systemctl is-active countersignd.service"); !strings.HasSuffix(out, "active") {
		t.Errorf("the socket did not start the service: %s", out)
	}
}

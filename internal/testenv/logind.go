package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/godbus/dbus/v5"
)

// RealLogin is systemd's own login manager on a private bus, with a /run of its
// own in which one session of root's is on record. It reaches no other session
// of the machine.
type RealLogin struct {
	tb  testing.TB
	bus *Bus
	cmd *exec.Cmd
}

// loginRecords writes what a login manager that ran before would have left: a
// session of root whose leader is this process.
const loginRecords = `set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/sessions /run/systemd/users /run/systemd/seats /run/systemd/logind.conf.d /run/user/0
printf '%%s\n' '[Login]' HandlePowerKey=ignore HandleSuspendKey=ignore HandleHibernateKey=ignore HandleRebootKey=ignore \
  HandleLidSwitch=ignore NAutoVTs=0 ReserveVT=0 RemoveIPC=no >/run/systemd/logind.conf.d/test.conf
printf '%%s\n' NAME=root STATE=active RUNTIME=/run/user/0 DISPLAY=c1 SESSIONS=c1 >/run/systemd/users/0
printf '%%s\n' UID=0 USER=root ACTIVE=1 STATE=active REMOTE=%d TYPE=x11 CLASS=user \
  SCOPE=session-c1.scope SERVICE=test LEADER=%d STARTED=1 >/run/systemd/sessions/c1
exec /lib/systemd/systemd-logind
`

// StartRealLogin starts one, where that may be done: it takes root and a mount
// namespace.
func StartRealLogin(tb testing.TB, bus *Bus, remote bool) *RealLogin {
	tb.Helper()
	Need(tb, "/lib/systemd/systemd-logind")
	NeedMounts(tb)
	l := &RealLogin{tb: tb, bus: bus}
	l.Start(remote)
	return l
}

// Start starts it, again after Stop.
func (l *RealLogin) Start(remote bool) {
	l.tb.Helper()
	far := 0
	if remote {
		far = 1
	}
	var said bytes.Buffer
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", fmt.Sprintf(loginRecords, far, os.Getpid()))
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+l.bus.Address, "SYSTEMD_LOG_TARGET=console")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		l.tb.Fatal(err)
	}
	l.cmd = cmd
	l.tb.Cleanup(func() {
		end(cmd)
		if l.tb.Failed() {
			l.tb.Logf("systemd-logind said: %s", said.Bytes())
		}
	})
}

// Stop kills it.
func (l *RealLogin) Stop() { end(l.cmd) }

// SetLockedHint says that the screen of the session is locked, or not, as a
// screen locker does.
func (l *RealLogin) SetLockedHint(locked bool) {
	l.tb.Helper()
	conn, err := dbus.Connect(l.bus.Address)
	if err != nil {
		l.tb.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Object(loginName, sessionPath("c1")).Call(loginName+".Session.SetLockedHint", 0, locked).Err; err != nil {
		l.tb.Fatal(err)
	}
}

//go:build system

package systemtest

import (
	"regexp"
	"strings"
	"testing"
)

// TestSandbox looks at the services as they run, and does in their places what
// somebody would who had taken one over.
func TestSandbox(t *testing.T) {
	m := newDesk(t)
	m.run("systemctl enable --now --quiet pcscd.socket")
	t.Run("score", func(t *testing.T) {
		m := m.under(t)
		t.Log(m.run("systemd-analyze security countersignd.service --no-pager | grep -v ✓"))
		for unit, most := range map[string]string{"countersignd.service": "15", "countersign-server.service": "12"} {
			if out, err := m.try("systemd-analyze security --no-pager --threshold=" + most + " " + unit); err != nil {
				t.Errorf("%s is above %s tenths:\n%s", unit, most, out)
			}
		}
	})
	t.Run("as the kernel sees it", func(t *testing.T) { m.under(t).process() })
	t.Run("units are valid", func(t *testing.T) {
		m := m.under(t)
		out := m.run("systemd-analyze verify countersignd.service countersignd.socket countersignd-tpm.service countersign-server.service 2>&1; systemd-analyze verify --user countersign-session.service 2>&1 || true")
		for line := range strings.Lines(out) {
			// Debian 12 has a systemd from before these two.
			if strings.Contains(line, "countersign") && !strings.Contains(line, "'RestartSteps'") && !strings.Contains(line, "'RestartMaxDelaySec'") {
				t.Error(line)
			}
		}
	})
	t.Run("taken over", func(t *testing.T) { m.under(t).takenOver() })
	t.Run("a device", func(t *testing.T) {
		m := m.under(t)
		// A device of that name, though of another kind: the service must see it and
		// may open it, and no other.
		m.run("mknod /dev/tpmrm0 c 1 3; chgrp tss /dev/tpmrm0; chmod 660 /dev/tpmrm0; echo 'tpm = \"device:/dev/tpmrm0\"' >/etc/countersign/conf.d/10-tpm.toml; systemctl restart countersignd.service")
		if out := m.runAs("alice", "countersign doctor --json || true"); !strings.Contains(out, "unexpected EOF") {
			t.Errorf("the service could not open its device: %s", out)
		}
	})
}

// process checks what /proc says of the running services, and that the one of the
// users listens to nobody on the network.
func (m *machine) process() {
	m.t.Helper()
	for _, unit := range []string{"countersignd.service", "countersign-server.service"} {
		status := m.run("cat /proc/" + m.pid(unit) + "/status")
		for _, want := range []string{`CapInh:\s0+`, `CapPrm:\s0+`, `CapEff:\s0+`, `CapBnd:\s0+`, `CapAmb:\s0+`, `NoNewPrivs:\s1`, `Seccomp:\s2`, `Uid:\s[1-9]\d*\s[1-9]\d*\s[1-9]\d*\s[1-9]\d*`} {
			if !regexp.MustCompile("(?m)^" + want + "$").MatchString(status) {
				m.t.Errorf("%s: no %s in\n%s", unit, want, status)
			}
		}
	}
	sockets := m.run("ss -H -l -n -t -u -w -p -0")
	if strings.Contains(sockets, `"countersignd"`) {
		m.t.Errorf("countersignd listens:\n%s", sockets)
	}
	if !strings.Contains(sockets, `"countersign-ser"`) {
		m.t.Errorf("ss does not even see the server:\n%s", sockets)
	}
}

// probe does one thing after another that the service must not be able to do, and
// prints what it could. What it must be able to do is last.
const probe = `
import ctypes, errno, glob, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def could(what, f):
    try: f(); print("could", what)
    except OSError as e: pass
def call(ret):
    if ret < 0: raise OSError(ctypes.get_errno(), "")
def listen(family, kind):
    s = socket.socket(family, kind); s.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
could("listen on TCP", lambda: listen(socket.AF_INET, socket.SOCK_STREAM))
could("listen on UDP", lambda: listen(socket.AF_INET, socket.SOCK_DGRAM))
could("listen on TCP6", lambda: listen(socket.AF_INET6, socket.SOCK_STREAM))
could("open a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
could("open a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
could("open a Bluetooth socket", lambda: socket.socket(31, socket.SOCK_RAW, 0))
for d in ["/etc", "/usr", "/var/lib", "/home", "/root", "/boot", "/etc/countersign", "/run", "/run/countersign"]:
    could("write in " + d, lambda: open(d + "/probe", "w"))
could("read homes", lambda: print(os.listdir("/home")[0]) if os.listdir("/home") else call(-1))
could("read another service's state", lambda: os.listdir("/var/lib/countersign-server"))
could("read the shadow", lambda: open("/etc/shadow"))
could("read the credential store", lambda: os.listdir("/etc/credstore"))
could("write to the kernel", lambda: open("/proc/sys/kernel/hostname", "w"))
could("write to the control groups", lambda: open(glob.glob("/sys/fs/cgroup/*")[0], "w"))
could("read the kernel log", lambda: call(libc.syscall(103, 3, ctypes.create_string_buffer(64), 64)))
could("make a user namespace", lambda: call(libc.unshare(0x10000000)))
could("make a network namespace", lambda: call(libc.unshare(0x40000000)))
could("become root", lambda: os.setuid(0))
could("mount", lambda: call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)))
could("set the host name", lambda: socket.sethostname("x"))
could("take a processor", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
could("run memory it wrote", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC | mmap.PROT_READ))
def setuid_bit():
    p = os.environ["STATE_DIRECTORY"] + "/x"; open(p, "w").close(); os.chmod(p, 0o4755)
could("make a program setuid", setuid_bit)
could("trace another process", lambda: call(libc.ptrace(16, 1, 0, 0)))
could("signal another process", lambda: os.kill(1, 0))
for dev in ["mem", "kmsg", "fuse", "net/tun", "uinput", "tpm0", "vda", "loop-control"]:
    could("see /dev/" + dev, lambda: os.stat("/dev/" + dev))
def must(what, f):
    try: f()
    except Exception as e: print("could not", what, e)
def connect(path):
    s = socket.socket(socket.AF_UNIX); s.connect(path)
must("reach the system bus", lambda: connect("/run/dbus/system_bus_socket"))
must("reach the smart card daemon", lambda: connect("/run/pcscd/pcscd.comm"))
must("reach the TPM", lambda: connect("/run/tpm/sock"))
must("reach the network", lambda: socket.create_connection(("127.0.0.1", 8444)))
must("see who calls it", lambda: open("/proc/1/stat").read())
must("see the caller's control group", lambda: open("/proc/1/cgroup").read())
must("write its state", lambda: open(os.environ["STATE_DIRECTORY"] + "/y", "w"))
must("write what others read", lambda: open(os.environ["RUNTIME_DIRECTORY"] + "/y", "w"))
print("done")
`

// takenOver starts the probe in the place of the service, with all that its unit
// says and directories of its own.
func (m *machine) takenOver() {
	m.t.Helper()
	out := m.run(`mkdir -p /etc/credstore && echo secret >/etc/credstore/other && chmod 700 /etc/credstore
mkdir -p /srv/probe && cat >/srv/probe/probe.py <<'E'` + probe + `E
systemctl stop countersignd.service 2>&1 | grep -v -e Stopping -e countersignd.socket || true # it holds the TPM
sed -e 's/^Type=.*/Type=oneshot/; s|^ExecStart=.*|ExecStart=/usr/bin/python3 /srv/probe/probe.py|; /^Restart/d; /^WatchdogSec/d; s/^StateDirectory=.*/StateDirectory=probe/; s/^RuntimeDirectory=.*/RuntimeDirectory=probe/' /usr/lib/systemd/system/countersignd.service >/etc/systemd/system/probe.service
systemctl daemon-reload && systemctl start probe.service
journalctl -u probe.service -o cat --no-pager | grep -E '^(could|done)|Error'
systemctl start countersignd.service`)
	if out != "done" {
		m.t.Errorf("in the place of the service somebody\n%s", out)
	}
}

//go:build system

package systemtest

import (
	"strings"
	"testing"
)

// victim connects to the system bus, prints its name there, and then whether the
// signal arrives that somebody forged.
const victim = `
import os, re, socket, struct, sys, time
s = socket.socket(socket.AF_UNIX); s.connect("/run/dbus/system_bus_socket")
s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"); s.recv(1000)
s.sendall(b"BEGIN\r\n")
def field(code, kind, text):
    b = bytes([code, 1, ord(kind), 0]) + struct.pack("<I", len(text)) + text.encode() + b"\0"
    return b
def padded(b): return b + b"\0" * (-len(b) % 8)
fields = padded(field(1, "o", "/org/freedesktop/DBus")) + padded(field(6, "s", "org.freedesktop.DBus")) + padded(field(2, "s", "org.freedesktop.DBus")) + field(3, "s", "Hello")
s.sendall(b"l\1\0\1" + struct.pack("<III", 0, 1, len(fields)) + padded(fields))
got = s.recv(4096)
print(re.search(rb":1\.\d+", got).group().decode(), flush=True)
s.settimeout(0.2); end = time.time() + 4
while time.time() < end:
    try: got += s.recv(4096)
    except TimeoutError: pass
print("arrived" if b"VerifyStatus" in got else "nothing", flush=True)
`

// TestForgedSignals has another user tell the service, as if it were fprintd, that
// a finger matched. The bus must not even deliver it. To a user that our policy
// says nothing of, the bus does.
func TestForgedSignals(t *testing.T) {
	m := boot(t)
	m.install("countersign")
	m.forgedSignals()
}

func (m *machine) forgedSignals() {
	m.t.Helper()
	m.run("useradd --system other; cat >/srv/victim.py <<'E'" + victim + "E")
	for user, want := range map[string]string{"other": "arrived", "countersign": "nothing"} {
		out := m.run(`runuser -u ` + user + ` -- python3 /srv/victim.py >/tmp/victim.` + user + ` & 
until name=$(head -n 1 /tmp/victim.` + user + `) && [ -n "$name" ]; do sleep .05; done
runuser -u nobody -- dbus-send --system --type=signal --dest=$name /net/reactivated/Fprint/Device/0 net.reactivated.Fprint.Device.VerifyStatus string:verify-match boolean:true
wait; cat /tmp/victim.` + user)
		if !strings.HasSuffix(out, want) {
			m.t.Errorf("to %s: %s, want %s", user, out, want)
		}
	}
}

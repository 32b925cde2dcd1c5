package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countersign/internal/testenv"
)

// TestRefusedLinks hands in every kind of bad link: each is an error with a
// code of its own, leaves nothing behind, and a good link still works.
func TestRefusedLinks(t *testing.T) {
	s := startServer(t)
	d := startDevice(t)
	used := s.link()
	d.enroll(used)
	expired := s.link("--ttl", "1ms")
	good := s.link()
	for _, c := range []struct{ name, link, code string }{
		{"not a link", "https://example.org/", "bad_request"},
		{"no token", "countersign:enroll?server=" + s.device, "bad_request"},
		{"not https", "countersign:enroll?server=http://127.0.0.1&token=x", "bad_request"},
		{"unknown token", replaceParam(good, "token", strings.Repeat("a", 26)), "token_unknown"},
		{"used token", used, "token_used"},
		{"expired token", expired, "token_expired"},
		{"another server's root", replaceParam(good, "ca", "sha256:"+strings.Repeat("A", 43)), "intercepted"},
		{"nobody there", replaceParam(good, "server", "https://127.0.0.1:1"), "server_unreachable"},
	} {
		a := d.cli(pin+"\n", "enroll", c.link, "--pin-stdin")
		if a.status == 0 || a.code() != c.code {
			t.Errorf("%s: exit status %d, %s; want the code %s", c.name, a.status, a.stdout, c.code)
		}
		if token := paramRaw(c.link, "token"); token != "" && len(token) > 4 && (strings.Contains(a.stdout+a.stderr, token) || strings.Contains(d.log.String(), token)) {
			t.Errorf("%s: the token was printed or logged", c.name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(d.state(), "enrolling", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if n := len(indices(t, d)); n != 1 {
		t.Errorf("%d PIN indices in the TPM, want the one of the first enrollment", n)
	}
	d.enroll(good)
}

// indices lists what is defined in the TPM's owner range.
func indices(t *testing.T, d *device) []uint32 {
	t.Helper()
	d.proc.kill() // a software TPM serves one program at a time
	raw := d.tpm.Dial()
	var list []uint32
	for _, h := range raw.Indices() {
		list = append(list, uint32(h))
	}
	raw.Close()
	d.start()
	return list
}

func replaceParam(link, name, value string) string {
	return strings.Replace(link, name+"="+paramRaw(link, name), name+"="+value, 1)
}

func paramRaw(link, name string) string {
	_, rest, found := strings.Cut(link, name+"=")
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "&")
	return value
}

// TestRefusedPINs never reach the chip.
func TestRefusedPINs(t *testing.T) {
	s := startServer(t)
	d := startDevice(t)
	link := s.link()
	for _, bad := range []string{"", "12345", strings.Repeat("9", 64)} {
		if a := d.cli(bad+"\n", "enroll", link, "--pin-stdin"); a.status == 0 {
			t.Errorf("a PIN of %d bytes was taken", len(bad))
		}
	}
	d.enroll(link)
}

// TestRefusedTransactions: what no person could read rightly is refused by the
// server, with the name of the member, and logged once.
func TestRefusedTransactions(t *testing.T) {
	s, d, p := world(t)
	for _, c := range []struct {
		name   string
		body   any
		status int
		code   string
	}{
		{"control character", body("message", "Pay 1\u0007"), 422, "bad_text"},
		{"line break", body("message", "Pay 1\nServer: https://bank.example"), 422, "bad_text"},
		{"bidi override", body("message", "Pay \u202e1"), 422, "bad_text"},
		{"zero width", body("message", "Pay\u200b 1"), 422, "bad_text"},
		{"not normalized", body("message", "Cafe\u0301"), 422, "bad_text"},
		{"too long", body("message", strings.Repeat("x", 2000)), 422, "bad_text"},
		{"unknown type", body("type", "nonesuch"), 422, "type_unknown"},
		{"unknown user", body("user", "mallory"), 422, "user_unknown"},
		{"oversized", body("message", strings.Repeat("x", 70<<10)), 413, "body_too_large"},
	} {
		got := p.call("POST", "/v1/transactions", "", c.body)
		if got.http != c.status || got.Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.http, got.raw, c.status, c.code)
		}
	}
	// The answer may come before its line of the log.
	testenv.Eventually(t, "the oversized body is logged once", func() bool {
		return strings.Count(s.log.String(), "body_too_large") == 1
	})
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
}

func body(name, value string) map[string]any {
	b := map[string]any{"type": "confirm", "user": "alice", "message": "m"}
	b[name] = value
	return b
}

// TestAnotherClientSeesNothing: a relying party knows nothing of another's.
func TestAnotherClientSeesNothing(t *testing.T) {
	s, _, p := world(t)
	tx := p.begin("login")
	other := newPortal(t, s)
	if got := other.now(tx.ID); got.http != http.StatusNotFound {
		t.Errorf("another client's transaction: %d %s", got.http, got.raw)
	}
	other.secret = "wrong"
	if got := other.now(tx.ID); got.http != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d %s", got.http, got.raw)
	}
}

// TestNoNetworkListener looks for listening sockets among the descriptors of
// the running service: there is one, on the unix socket.
func TestNoNetworkListener(t *testing.T) {
	_, d, _ := world(t)
	inodes := socketsOf(t, d.proc.cmd.Process.Pid)
	if len(inodes) == 0 {
		t.Fatal("the service has no sockets at all: the test looks in the wrong place")
	}
	const listen, closed = "0A", "07" // include/net/tcp_states.h
	for _, c := range []struct{ table, state string }{{"tcp", listen}, {"tcp6", listen}, {"udp", closed}, {"udp6", closed}} {
		data, err := os.ReadFile("/proc/net/" + c.table)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n")[1:] {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == c.state && inodes[f[9]] {
				t.Errorf("the service listens on %s %s", c.table, f[1])
			}
		}
	}
}

func socketsOf(t *testing.T, pid int) map[string]bool {
	t.Helper()
	inodes := map[string]bool{}
	fds, err := filepath.Glob("/proc/" + itoa(pid) + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes
}

// TestOtherUsersSeeNothing: the system socket is open to all, and each uid
// sees its own.
func TestOtherUsersSeeNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can call as another user")
	}
	s := startServer(t)
	d := newDevice(t)
	d.system = true
	if err := os.Chmod(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.enroll(s.link())
	p := newPortal(t, s)
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	nobody := func(args ...string) answer {
		return commandAs(t, 65534, append(args, "--socket", d.socket(), "--json")...)
	}
	if a := nobody("requests").ok(t); strings.Contains(a.stdout, tx.ID) {
		t.Errorf("another user lists the request: %s", a.stdout)
	}
	nobody("show", tx.ID).want(t, 3)
	nobody("approve", tx.ID, "--number", tx.Number).want(t, 3)
	nobody("deny", tx.ID).want(t, 3)
	if p.now(tx.ID).Status != "pending" {
		t.Error("another user decided")
	}
}

// TestSecondServerIsRefused: two servers on one directory would each make
// links to their own address.
func TestSecondServerIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := s.command("", "serve", "--listen", "127.0.0.1:0", "--device-listen", "127.0.0.1:0").want(t, 1)
	if !strings.Contains(a.stderr, "another server") {
		t.Errorf("the second server said %q", a.stderr)
	}
	if link := s.link(); !strings.Contains(link, strings.TrimPrefix(hostOf(t, s.device), "127.0.0.1:")) {
		t.Errorf("a link of the first server now is %s", link)
	}
}

// TestStuckServiceIsNotWaitedForForEver stops the service in its tracks.
func TestStuckServiceIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	d := startDevice(t)
	if err := d.proc.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if a := d.cli("", "status").want(t, 4); a.code() != "service_unreachable" {
		t.Errorf("status said %s", a.stdout)
	}
}

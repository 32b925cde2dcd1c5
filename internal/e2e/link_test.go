package e2e

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// TestDesktopOpensLinks has a desktop open links with the program that was
// installed for them: a code makes a request that waits, and nothing more.
func TestDesktopOpensLinks(t *testing.T) {
	testenv.Need(t, "gio")
	s, d, p := codeWorld(t)
	home := t.TempDir()
	runtimeDir := filepath.Join(d.dir, "run")
	if err := os.MkdirAll(filepath.Join(runtimeDir, "countersign"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(d.socket(), filepath.Join(runtimeDir, "countersign", "agent.sock")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "HOME="+home, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR="+runtimeDir, "DISPLAY=", "WAYLAND_DISPLAY=", "DBUS_SESSION_BUS_ADDRESS=")
	in := func(name string, args ...string) answer {
		cmd := exec.Command(name, args...)
		cmd.Env = env
		return runCommand(t, "", cmd)
	}
	in(filepath.Join(bin, "countersign"), "link", "install").ok(t)
	tx, _, link := p.offer()
	in("gio", "open", link).ok(t)
	d.waitFor(tx.ID)
	if n := d.approvalSigns(); n != 1 || p.now(tx.ID).Status != "pending" {
		t.Errorf("a link decided something: %d signatures, %s", n, p.now(tx.ID).raw)
	}
	in(filepath.Join(bin, "countersign"), "link", "uninstall").ok(t)
	if in("gio", "open", link).status == 0 {
		t.Error("the desktop opens links still")
	}
	s.command("", "type", "set", "qr", "--method", "otp", "--class", "C2", "--ttl", "120s", "--high-value").ok(t)
	_, _, link = p.offer()
	if a := d.cli("", "open", link); a.status != 1 || a.code() != "otp_refused" {
		t.Errorf("a link of high value: %s", a.stdout)
	}
	for _, link := range []string{"https://example.com", "countersign:", "countersign:other?x=y", "countersign:enroll?server=http://x", "countersign:enroll?server=https://x@y&token=z", "countersign:enroll?server=https://bаnk.example&token=z"} {
		if a := d.cli("", "open", link); a.status != 1 || a.code() != "bad_request" {
			t.Errorf("%s: %d %s", link, a.status, a.stdout)
		}
	}
}

// deadEnd is a link to a server that fails the test if anybody connects.
func deadEnd(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			t.Error("a server was contacted that nobody had agreed to")
		}
	}()
	return "countersign:enroll?server=" + url.QueryEscape("https://"+l.Addr().String()) + "&token=abc"
}

// TestEnrollmentLinkAsksFirst in a terminal: no answer contacts nobody.
func TestEnrollmentLinkAsksFirst(t *testing.T) {
	t.Parallel()
	s, d := startServer(t), startDevice(t)
	for _, no := range []string{"", "n", "Y e s"} {
		term, p := atTerminal(t, d, "open", deadEnd(t))
		term.Answer("[y/N] ", no)
		<-p.ended
		if !strings.Contains(p.log.String(), "nothing was done") {
			t.Errorf("%q: %s", no, p.log)
		}
	}
	if a := d.cli("", "open", deadEnd(t)); a.status != 1 || a.code() != "no_prompt" {
		t.Errorf("without anybody to ask: %s", a.stdout)
	}
	term, p := atTerminal(t, d, "open", s.link())
	term.Answer("[y/N] ", "y")
	term.Answer("New PIN: ", pin)
	term.Answer("Again: ", pin)
	p.expect("Enrolled at " + s.device)
	if !strings.Contains(term.Text(), s.device) {
		t.Errorf("the server was not named: %s", term.Text())
	}
}

// TestEnrollmentLinkInWindows asks on a desktop: the first focus goes nowhere,
// and whoever goes on enrolls.
func TestEnrollmentLinkInWindows(t *testing.T) {
	t.Parallel()
	s, d := startServer(t), startDevice(t)
	desk := testenv.StartDesktop(t)
	open := func(link string) *process {
		cmd := exec.Command(filepath.Join(bin, "countersign"), "open", link, "--socket", d.socket())
		cmd.Env = desk.Env()
		return startCommand(t, new(testenv.Log), cmd)
	}
	for _, keys := range [][]string{{"Return"}, {"Escape"}} {
		p := open(deadEnd(t))
		desk.Answerable("Countersign enrollment")
		desk.XdoKey(keys...)
		<-p.ended
	}
	p := open(deadEnd(t))
	desk.Answerable("Countersign enrollment")
	desk.XdoKey("shift+Tab", "Return")
	desk.Answerable("Countersign new PIN")
	desk.XdoKey("Escape")
	<-p.ended
	p = open(s.link())
	desk.Answerable("Countersign enrollment")
	desk.XdoKey("shift+Tab", "Return")
	for _, page := range []string{"Countersign new PIN", "Countersign PIN again"} {
		desk.Answerable(page)
		desk.XdoType(pin)
		desk.XdoKey("Return")
	}
	desk.WaitWindow("Countersign enrollment") // it says that it is done
	desk.XdoKey("Return")
	<-p.ended
	if a := d.cli("", "profiles").ok(t); !strings.Contains(a.stdout, `"user":"alice"`) {
		t.Errorf("profiles: %s", a.stdout)
	}
	// What a link came to is told too, when it comes to nothing.
	p = open("countersign:otp?server=" + url.QueryEscape("https://elsewhere.example") + "&otp=MFRGGZDFMZTWQ2LKNNWG23TPOA")
	desk.WaitWindow("did not open the link")
	desk.XdoKey("Return")
	<-p.ended
}

package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/testenv"
)

const polkitFiles = "../../installer/polkit"

// verifying is a device on a computer that verifies people.
func verifying(t *testing.T, system *testenv.System, config string) *device {
	t.Helper()
	d := newDevice(t)
	if system != nil {
		d.env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + system.Address()}
	}
	d.config = filepath.Join(d.dir, "countersignd.toml")
	if err := os.WriteFile(d.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestApprovedByAFinger: the finger of the person who runs the command, read by
// the real fprintd; then by the PIN, where there is no reader any more.
func TestApprovedByAFinger(t *testing.T) {
	t.Parallel()
	system := testenv.StartSystem(t, polkitFiles)
	system.StartFprintd()
	system.Enroll("root", "right")
	s := startServer(t)
	s.command("", "type", "set", "finger", "--method", "push_with_fingerprint", "--class", "C1", "--ttl", "120s").ok(t)
	d := verifying(t, system, "")
	d.start()
	d.enroll(s.link())
	p := newPortal(t, s)
	tx := p.begin("finger")
	d.waitFor(tx.ID)
	if a := d.cli("", "show", tx.ID).ok(t); a.text("verify") != "fingerprint" {
		t.Errorf("shown: %s", a.stdout)
	}
	command := d.approveOnTerminal(t, tx)
	command.Answer("PIN: ", "")
	testenv.Eventually(t, "the finger to be asked for", func() bool { return strings.Contains(command.Text(), "Place your finger") })
	system.Reader("SCAN wrong")
	testenv.Eventually(t, "another try", func() bool { return strings.Count(command.Text(), "Place your finger") == 2 })
	if got := p.now(tx.ID).Status; got != "pending" {
		t.Errorf("after the wrong finger it is %s", got)
	}
	system.Reader("SCAN right")
	done := p.get(tx.ID)
	if done.Status != "approved" {
		t.Fatalf("the server says %s\n%s", done.raw, command.Text())
	}
	p.verified(done)

	system.StopFprintd()
	tx = p.begin("finger")
	d.waitFor(tx.ID)
	testenv.Eventually(t, "the reader to be missed", func() bool { return d.cli("", "show", tx.ID).ok(t).json["pin_needed"] == true })
	if a := d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 2); p.now(tx.ID).Status != "pending" {
		t.Errorf("decided without a finger: %s", a.stdout)
	}
	d.cli(pin+"\n", "approve", tx.ID, "--number", tx.Number, "--pin-stdin").ok(t)
	p.verified(p.get(tx.ID))
}

// TestApprovedByAPlugin, and not when it says no.
func TestApprovedByAPlugin(t *testing.T) {
	t.Parallel()
	d := verifying(t, nil, "")
	text, err := os.ReadFile("../../examples/plugin/confirm.sh")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(d.dir, "confirm.sh")
	present := t.TempDir()
	config := "[verify]\nfingerprint = false\ncustom = \"plugin\"\nplugin = \"" + program + "\"\n"
	err = errors.Join(
		testenv.WriteProgram(program, []byte(strings.ReplaceAll(string(text), "/run/countersign-present", present)), 0o755),
		os.WriteFile(d.config, []byte(config), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t)
	s.command("", "type", "set", "badge", "--method", "push_with_custom_authenticator", "--class", "C1", "--ttl", "120s").ok(t)
	d.start()
	d.enroll(s.link())
	p := newPortal(t, s)
	tx := p.begin("badge")
	d.waitFor(tx.ID)
	if a := d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 1); a.code() != "verify_failed" {
		t.Errorf("nobody is there: %s", a.stdout)
	}
	if got := p.now(tx.ID).Status; got != "pending" {
		t.Errorf("it is %s", got)
	}
	user, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(present, strings.TrimSpace(string(user))), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 2); p.now(tx.ID).Status != "pending" {
		t.Errorf("the same request, without the PIN: %s", a.stdout)
	}
	tx = p.begin("badge")
	d.waitFor(tx.ID)
	d.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
	p.verified(p.get(tx.ID))

	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	tx = p.begin("badge")
	d.waitFor(tx.ID)
	testenv.Eventually(t, "the plug-in not to be trusted", func() bool { return d.cli("", "show", tx.ID).ok(t).json["pin_needed"] == true })
}

// TestApprovedByPolkit: the system's service asks polkit about the very process
// that approves, and the person's own password is the answer.
func TestApprovedByPolkit(t *testing.T) {
	t.Parallel()
	system := testenv.StartSystem(t, polkitFiles)
	system.Rule("10-test.rules", `polkit.addRule(function(action) {
		if (action.id == "io.countersign.approve") { return polkit.Result.AUTH_SELF; }
	});`)
	s := startServer(t)
	s.command("", "type", "set", "password", "--method", "push_with_custom_authenticator", "--class", "C1", "--ttl", "120s").ok(t)
	d := verifying(t, system, "[verify]\ncustom = \"polkit\"\n")
	d.system = true
	program := filepath.Join(d.dir, "countersign")
	data, err := os.ReadFile(filepath.Join(bin, "countersign"))
	if err = errors.Join(err, os.Chmod(d.dir, 0o755), testenv.WriteProgram(program, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.as(testenv.PersonUID, pin+"\n", program, "enroll", s.link(), "--pin-stdin", "--json", "--socket", d.socket()).ok(t)
	p := newPortal(t, s)
	for _, c := range []struct{ password, status string }{{testenv.PersonPassword, "approved"}, {"wrong horse", "pending"}} {
		tx := p.begin("password")
		d.arrives(program, tx.ID)
		// The process is there, and polkit knows who asks for it, before it
		// becomes the command that approves.
		cmd, goOn, out := d.waiting(program, "approve", tx.ID, "--number", tx.Number, "--json", "--socket", d.socket())
		agent := system.StartAgent(cmd.Process.Pid, testenv.Started(t, cmd.Process.Pid))
		goOn()
		agent.Answer(1, c.password)
		err := cmd.Wait()
		if (err == nil) != (c.status == "approved") {
			t.Errorf("%s: %v\n%s\n%s", c.status, err, out, agent.Text())
		}
		if got := p.now(tx.ID); got.Status != c.status {
			t.Errorf("the server says %s", got.raw)
		}
		if c.status == "pending" && !strings.Contains(out.String(), "verify_failed") {
			t.Errorf("the command says %s", out)
		}
		if !strings.Contains(agent.Text(), "approve a request of bank-") {
			t.Errorf("polkit shows %s", agent.Text())
		}
	}
}

// as runs the user's command as another user.
func (d *device) as(uid uint32, stdin, program string, args ...string) answer {
	d.tb.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return runCommand(d.tb, stdin, cmd)
}

// arrives waits until the Person has a request.
func (d *device) arrives(program, id string) {
	d.tb.Helper()
	testenv.Eventually(d.tb, "the request to arrive", func() bool {
		return strings.Contains(d.as(testenv.PersonUID, "", program, "requests", "--json", "--socket", d.socket()).stdout, id)
	})
}

// waiting is a process of the Person's that becomes the command once it may.
func (d *device) waiting(program string, args ...string) (cmd *exec.Cmd, goOn func(), out *bytes.Buffer) {
	d.tb.Helper()
	cmd = exec.Command("sh", append([]string{"-c", `read -r go; exec "$0" "$@"`, program}, args...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testenv.PersonUID, Gid: testenv.PersonUID}}
	cmd.WaitDelay = time.Minute
	out = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		d.tb.Fatal(err)
	}
	return cmd, func() {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			d.tb.Fatal(err)
		}
	}, out
}

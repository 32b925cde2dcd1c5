package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// systemImage makes the file system of a system, for the service to be installed
// into.
func systemImage(t *testing.T) string {
	t.Helper()
	testenv.Need(t, "systemctl", "systemd-sysusers", "userdel", "groupdel")
	if os.Getuid() != 0 {
		t.Skip("only root can install the service of the system")
	}
	root := t.TempDir()
	for path, text := range map[string]string{
		"usr/lib/systemd/systemd": "", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n",
		"var/lib/misc/x": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// withKeys gives an image what a service would have stored in it.
func withKeys(t *testing.T, root string) string {
	t.Helper()
	state := filepath.Join(root, "var/lib/countersign")
	if err := os.MkdirAll(filepath.Join(state, "profiles"), 0o700); err != nil {
		t.Fatal(err)
	}
	return state
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestServiceImage installs into an image and removes it again, by the words of
// the command.
func TestServiceImage(t *testing.T) {
	t.Parallel()
	root := systemImage(t)
	dry := command(t, "", "countersign", "service", "install", "--root", root, "--dry-run", "--json").ok(t)
	if dry.text("action") != "install" || dry.text("init") != "linux-systemd" || dry.text("root") != root {
		t.Errorf("the plan is %s", dry.stdout)
	}
	steps, _ := dry.json["steps"].([]any)
	if exists(filepath.Join(root, "etc/systemd")) || len(steps) < 20 || dry.stderr != "" {
		t.Errorf("%d steps, said %q", len(steps), dry.stderr)
	}
	done := command(t, "", "countersign", "service", "install", "--root", root).ok(t)
	if n := strings.Count(done.stderr, "\n"); n != len(steps) || !strings.HasSuffix(done.stdout, "install: done\n") {
		t.Errorf("%d of %d steps are told:\n%s%s", n, len(steps), done.stderr, done.stdout)
	}
	if again := command(t, "", "countersign", "service", "install", "--root", root, "--dry-run").ok(t); strings.Contains(again.stdout, "\n  + ") {
		t.Errorf("something is left to do:\n%s", again.stdout)
	}
	if out := runCommand(t, "", exec.Command(filepath.Join(root, "usr/local/bin/countersignd"), "--version")).ok(t); out.stdout == "" {
		t.Error("the installed program does not run")
	}

	// Without a terminal nobody can say yes, and JSON asks nobody.
	state := withKeys(t, root)
	out := command(t, "yes\n", "countersign", "service", "uninstall", "--root", root).ok(t)
	if !exists(state) || !strings.Contains(out.stdout, "the keys and profiles stay in /var/lib/countersign") || !strings.Contains(out.stdout, "--purge") {
		t.Errorf("the keys: %v, and it says\n%s", exists(state), out.stdout)
	}
	command(t, "", "countersign", "service", "uninstall", "--root", root, "--purge").ok(t)
	if exists(state) || exists(filepath.Join(root, "var/lib/countersign-install")) {
		t.Error("a purge leaves the keys or the record")
	}
	gone := command(t, "", "countersign", "service", "uninstall", "--root", root, "--json").want(t, 3)
	if gone.code() != "not_installed" {
		t.Errorf("uninstalling nothing: %s", gone.stdout)
	}
	// What it says is typed as it stands, and does it, from where the archive was unpacked.
	e, _ := gone.json["error"].(map[string]any)
	cure, _ := e["cure"].(string)
	runCommand(t, "", exec.Command("sh", "-c", strings.TrimPrefix(cure, "sudo "))).ok(t)
	if !exists(filepath.Join(root, "usr/local/bin/countersignd")) {
		t.Errorf("%s has installed nothing", cure)
	}
}

// TestServiceImageOfAnyName: the directory of an image may be called anything, and so
// may that of the programs.
func TestServiceImageOfAnyName(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "it's $HOME; an image")
	if err := os.Rename(systemImage(t), root); err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(root, "etc")
	if err := os.Chmod(etc, 0o777); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first says what mends it
		a := command(t, "", "countersign", "service", "install", "--root", root, "--json")
		if a.code() == "" {
			return
		}
		e, _ := a.json["error"].(map[string]any)
		cure, _ := e["cure"].(string)
		runCommand(t, "", exec.Command("sh", "-c", strings.TrimPrefix(cure, "sudo "))).ok(t)
	}
	t.Error("what mends it does not")
}

// TestServiceUninstallAsks deletes keys for a yes that is written out, and for
// nothing else.
func TestServiceUninstallAsks(t *testing.T) {
	t.Parallel()
	for answer, deletes := range map[string]bool{"yes": true, "y": false, "": false} {
		root := systemImage(t)
		command(t, "", "countersign", "service", "install", "--root", root).ok(t)
		state := withKeys(t, root)
		screen, pts := testenv.OpenScreen(t)
		screen.Type(answer + "\n")
		cmd := exec.Command(filepath.Join(bin, "countersign"), "service", "uninstall", "--root", root)
		cmd.Stdin = pts
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/var/lib/countersign holds the profiles") {
			t.Fatalf("%v:\n%s", err, out)
		}
		if exists(state) == deletes {
			t.Errorf("%q deletes: %v, want %v\n%s", answer, !exists(state), deletes, out)
		}
	}
}

// TestServiceTakesRoot: nobody else is let in, and is told what to type.
func TestServiceTakesRoot(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	for _, word := range []string{"install", "uninstall", "start", "stop"} {
		a := commandAs(t, 4711, "service", word, "--json").want(t, 1)
		e, _ := a.json["error"].(map[string]any)
		cure, _ := e["cure"].(string)
		if a.code() != "needs_root" || !strings.HasPrefix(cure, "sudo /") || !strings.HasSuffix(cure, "/countersign service "+word+" --json") {
			t.Errorf("%s: %s", word, a.stdout)
		}
	}
	mistaken := exec.Command(filepath.Join(bin, "countersign"), "service", "install", "--user", "--json")
	mistaken.Env = append(os.Environ(), "SUDO_UID=1000", "HOME="+t.TempDir())
	if a := runCommand(t, "", mistaken).want(t, 1); a.code() != "needs_user" {
		t.Errorf("sudo with --user: %s", a.stdout)
	}
	commandAs(t, 4711, "service", "install", "--nonsense").want(t, 2)
	commandAs(t, 4711, "service", "install", "now").want(t, 2)
}

// TestPassedWrongly: a unit that passes more than the one socket is a fault that no start
// mends, and sockets that were passed to somebody else are not taken.
func TestPassedWrongly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", script+` exec timeout 3 "$0" --user --state "$1/state" --socket "$1/s" --tpm swtpm:/none`, filepath.Join(bin, "countersignd"), dir)
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "LISTEN_FDNAMES=countersignd.socket")
		return cmd
	}
	two := start("exec 3</dev/null 4</dev/null; export LISTEN_FDS=2 LISTEN_PID=$$;")
	two.Args[2] = strings.Replace(two.Args[2], "exec timeout 3 ", "exec ", 1) // the process that is meant
	began := time.Now()
	if a := runCommand(t, "", two).want(t, 78); !strings.Contains(a.stderr, "takes one socket and was given 2") {
		t.Errorf("it says %s", a.stderr)
	}
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("it ends after %v, and whoever waits at the socket has it started again as fast", took)
	}
	// By timeout it has another process id than the one named, and serves at its own socket.
	if a := runCommand(t, "", start("exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$;")).want(t, 124); a.stdout != "ready\n" {
		t.Errorf("it says %s%s", a.stdout, a.stderr)
	}
}

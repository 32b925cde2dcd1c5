//go:build system

package systemtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The environment that scripts/test-system sets.
const (
	// envRoot is the root file system that machines boot.
	envRoot = "COUNTERSIGN_SYSTEM_ROOT"
	// envPackages is the directory with the packages under test.
	envPackages = "COUNTERSIGN_SYSTEM_PACKAGES"
)

// machine is a Debian that runs in a container, with systemd as its first process.
type machine struct {
	t       *testing.T
	name    string
	console *bytes.Buffer
	nspawn  *exec.Cmd
	ended   chan struct{}
	init    int // the first process, as seen from here
}

// boot starts a machine that nothing of Countersign was ever installed on, and
// turns it off with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	root, packages := os.Getenv(envRoot), os.Getenv(envPackages)
	if root == "" || packages == "" {
		t.Fatal("run this by: make test-system")
	}
	m := &machine{t: t, name: fmt.Sprintf("countersign-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6), console: &bytes.Buffer{}, ended: make(chan struct{})}
	m.nspawn = exec.Command("unshare", "--mount", "--propagation", "private", "--kill-child",
		"../../scripts/system/boot", root, m.name, "--bind-ro="+packages+":/mnt/packages")
	m.nspawn.Stdout, m.nspawn.Stderr = m.console, m.console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(m.ended); _ = m.nspawn.Wait() }()
	t.Cleanup(m.off)
	m.up(0)
	return m
}

// up waits until the machine has booted with another first process than before.
func (m *machine) up(before int) {
	m.t.Helper()
	m.within(90*time.Second, "the machine boots", func() bool {
		select {
		case <-m.ended:
			m.t.Fatalf("the machine ended:\n%s", m.console)
		default:
		}
		init := m.findInit()
		if init == 0 || init == before {
			return false
		}
		m.init = init
		out, _ := m.enter(context.Background(), "systemctl", "is-system-running").CombinedOutput()
		state := strings.TrimSpace(string(out))
		return state == "running" || state == "degraded"
	})
}

// findInit looks for the systemd below nspawn, or returns 0.
func (m *machine) findInit() int {
	for pid := m.nspawn.Process.Pid; ; {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		list := strings.Fields(string(children))
		if len(list) == 0 {
			return 0
		}
		child, _ := strconv.Atoi(list[0])
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		if strings.TrimSpace(string(comm)) == "systemd" {
			return child
		}
		pid = child
	}
}

// off turns the machine off, the hard way if it must.
func (m *machine) off() {
	if m.t.Failed() {
		m.t.Logf("the journal's end:\n%s", m.journal())
	}
	if m.init != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = m.enter(ctx, "systemctl", "poweroff", "--no-wall").Run()
	}
	select {
	case <-m.ended:
	case <-time.After(20 * time.Second):
		_ = m.nspawn.Process.Kill()
		<-m.ended
	}
	_ = filepath.WalkDir("/sys/fs/cgroup/unified/"+m.name, func(path string, _ os.DirEntry, err error) error {
		defer os.Remove(path)
		return err
	})
}

// journal is the end of the machine's, without what the tests' own scripts leave.
func (m *machine) journal() string {
	out, _ := m.enter(context.Background(), "bash", "-c", `journalctl --no-pager -n 2000 -o short-precise | grep -v -e 'run-[ru]' -e 'session-[0-9]' -e pam_ -e 'Ignoring unknown escape' | tail -n 60`).CombinedOutput()
	return string(out)
}

// reboot turns the machine off and on, as a user would.
func (m *machine) reboot() {
	m.t.Helper()
	before := m.init
	_ = m.enter(m.t.Context(), "systemctl", "reboot", "--no-wall").Run()
	m.up(before)
}

// enter is a command in the machine's namespaces, though not in one of its units.
func (m *machine) enter(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(m.init), "-a", "--"}, args...)...)
}

// try runs a shell's script on the machine, as root in a unit of its own, and
// returns what it printed.
func (m *machine) try(script string) (string, error) {
	return m.as(nil, script)
}

// as is try with options of systemd-run, such as a user.
func (m *machine) as(options []string, script string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect"}, options...)
	// The script comes by a pipe: systemd would take lines of an argument for
	// lines of a unit, and expand what looks like its variables.
	cmd := m.enter(ctx, append(args, "--", "bash", "-c", `eval "$(cat)"`)...)
	cmd.Stdin = strings.NewReader("set -e\n" + script)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimRight(string(out), "\n"), err
}

// run is try for what must succeed.
func (m *machine) run(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatalf("%s\n%v:\n%s", script, err, out)
	}
	return out
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// within fails the test unless cond becomes true in time.
func (m *machine) within(limit time.Duration, what string, cond func() bool) time.Duration {
	m.t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Since(began) > limit {
			m.t.Fatalf("still waiting after %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// install installs packages under test, by the beginning of their names.
func (m *machine) install(names ...string) {
	m.t.Helper()
	for _, name := range names {
		m.run("dpkg -i /mnt/packages/" + name + "_*_$(dpkg --print-architecture).deb")
	}
}

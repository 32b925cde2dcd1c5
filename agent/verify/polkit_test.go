package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"countersign/internal/testenv"
)

// asked is the administrator's rule of these tests: outside of a desktop's
// session the policy file says no, whatever else is right.
const asked = `polkit.addRule(function(action, subject) {
	if (action.id == "` + PolkitAction + `") { return polkit.Result.AUTH_SELF; }
});`

// dialogs is a person with a process, and polkit.
type dialogs struct {
	*testenv.System
	t       *testing.T
	p       *Polkit
	subject Subject
}

func newDialogs(t *testing.T, rule string) *dialogs {
	t.Helper()
	t.Parallel()
	testenv.Need(t, "pkttyagent")
	s := testenv.StartSystem(t, installer)
	if rule != "" {
		s.Rule("10-test.rules", rule)
	}
	k := &dialogs{System: s, t: t, p: NewPolkit(Bus{connect: connectAs(s, testenv.ServiceUID)}, true)}
	k.subject = k.process(testenv.PersonUID)
	return k
}

// process is a process of a user's as the kernel describes it.
func (k *dialogs) process(uid int) Subject {
	k.t.Helper()
	pid := k.Process(uid).Pid
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		k.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	started, err := strconv.ParseUint(strings.Fields(after)[22-3], 10, 64)
	if err != nil {
		k.t.Fatal(err)
	}
	return Subject{UID: uint32(uid), User: testenv.Person, PID: int32(pid), Started: started}
}

func (k *dialogs) begin(ctx context.Context) *attempt {
	a := &attempt{k.t, make(chan string, 64), make(chan error, 1)}
	go func() {
		a.done <- k.p.Verify(ctx, k.subject, Request{Client: `<b>Bank</b> & $(user)`}, func(h string) { a.hints <- h })
	}()
	return a
}

// agent is pkttyagent, which asks for the password on a terminal.
type agent struct {
	t     *testing.T
	ptmx  *os.File
	cmd   *exec.Cmd
	mu    sync.Mutex
	shown strings.Builder
}

func (k *dialogs) agent() *agent {
	k.t.Helper()
	ptmx, pts, err := pty.Open()
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = ptmx.Close() })
	ready, registered, err := os.Pipe()
	if err != nil {
		k.t.Fatal(err)
	}
	defer ready.Close()
	a := &agent{t: k.t, ptmx: ptmx}
	a.cmd = k.Command(testenv.PersonUID, "pkttyagent", "--notify-fd", "3", "--process", fmt.Sprintf("%d,%d", k.subject.PID, k.subject.Started))
	a.cmd.Stdin, a.cmd.Stdout, a.cmd.Stderr = pts, pts, pts
	a.cmd.ExtraFiles = []*os.File{registered}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := os.Chown(pts.Name(), testenv.PersonUID, -1); err != nil {
		k.t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	_, _ = pts.Close(), registered.Close()
	k.t.Cleanup(a.stop)
	go a.watch()
	// It closes the descriptor once polkit knows it.
	_, _ = io.ReadAll(ready)
	return a
}

func (a *agent) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *agent) watch() {
	buf := make([]byte, 1024)
	for {
		n, err := a.ptmx.Read(buf)
		a.mu.Lock()
		a.shown.Write(buf[:n])
		a.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (a *agent) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown.String()
}

// answer types a password when asked for the nth time.
func (a *agent) answer(nth int, password string) {
	a.t.Helper()
	testenv.Eventually(a.t, "the password to be asked for", func() bool { return strings.Count(a.text(), "Password: ") >= nth })
	if _, err := io.WriteString(a.ptmx, password+"\n"); err != nil {
		a.t.Fatal(err)
	}
}

// TestPolkit: the right password is a yes, and each time anew.
func TestPolkit(t *testing.T) {
	k := newDialogs(t, asked)
	if err := k.p.Available(t.Context(), k.subject); err != nil {
		t.Fatalf("not available: %v", err)
	}
	agent := k.agent()
	for n := range 2 {
		a := k.begin(t.Context())
		a.hint(HintDialog)
		agent.answer(n+1, testenv.PersonPassword)
		if err := a.result(); err != nil {
			t.Fatalf("time %d: %v\n%s\n%s", n+1, err, agent.text(), k.Log())
		}
	}
	const want = "approve a request of ?b?Bank?/b? ? ?(user)"
	if !strings.Contains(agent.text(), want) {
		t.Errorf("the dialog does not say %q:\n%s", want, agent.text())
	}
}

func TestPolkitWrongPassword(t *testing.T) {
	k := newDialogs(t, asked)
	agent := k.agent()
	a := k.begin(t.Context())
	agent.answer(1, "wrong horse")
	if err := a.result(); !errors.Is(err, ErrNoMatch) {
		t.Errorf("got %v\n%s", err, agent.text())
	}
}

// TestPolkitEndsWithItsCaller: polkit asks no more for a caller that went, and
// what is typed then is no answer to anything.
func TestPolkitEndsWithItsCaller(t *testing.T) {
	k := newDialogs(t, asked)
	agent := k.agent()
	ctx, cancel := context.WithCancel(t.Context())
	a := k.begin(ctx)
	testenv.Eventually(t, "the password to be asked for", func() bool { return strings.Contains(agent.text(), "Password: ") })
	cancel()
	if err := a.result(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	k.p.limit = 300 * time.Millisecond
	if err := k.begin(t.Context()).result(); !errors.Is(err, ErrTimeout) {
		t.Errorf("nobody typed: %v", err)
	}
}

// TestPolkitEndsWithWhatItNeeds while the dialog stands.
func TestPolkitEndsWithWhatItNeeds(t *testing.T) {
	for name, end := range map[string]func(*dialogs, *agent){
		"polkit killed": func(k *dialogs, _ *agent) { k.StopPolkit() },
		"bus killed":    func(k *dialogs, _ *agent) { k.StopBus() },
		"agent killed":  func(_ *dialogs, a *agent) { a.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			k := newDialogs(t, asked)
			agent := k.agent()
			a := k.begin(t.Context())
			testenv.Eventually(t, "the password to be asked for", func() bool { return strings.Contains(agent.text(), "Password: ") })
			end(k, agent)
			if err := a.result(); err == nil {
				t.Error("a yes")
			}
		})
	}
}

// TestPolkitNotAsked: what polkit lets pass without asking verifies nobody, and
// what it forbids is not available.
func TestPolkitNotAsked(t *testing.T) {
	rule := func(result string) string { return strings.ReplaceAll(asked, "AUTH_SELF", result) }
	for name, c := range map[string]struct {
		rule   string
		change func(*dialogs)
	}{
		"allowed by a rule":      {rule: rule("YES")},
		"forbidden by a rule":    {rule: rule("NO")},
		"no active session":      {},
		"nobody asks":            {rule: asked},
		"root":                   {rule: asked, change: func(k *dialogs) { k.subject = k.process(0) }},
		"unknown action":         {rule: asked, change: func(k *dialogs) { k.RemoveAction("io.countersign.policy") }},
		"polkit away":            {rule: asked, change: func(k *dialogs) { k.StopPolkit() }},
		"bus away":               {rule: asked, change: func(k *dialogs) { k.StopBus() }},
		"process unknown":        {rule: asked, change: func(k *dialogs) { k.subject.Started, k.subject.PIDFD = 0, nil }},
		"not the action's owner": {rule: asked, change: func(k *dialogs) { k.p.bus.connect = connectAs(k.System, testenv.PersonUID) }},
	} {
		t.Run(name, func(t *testing.T) {
			k := newDialogs(t, c.rule)
			if c.change != nil {
				c.change(k)
			}
			u := unavailable(t, k.begin(t.Context()).result())
			if u.Cure == "" && name != "process unknown" {
				t.Errorf("no cure: %v", u)
			}
			if name != "nobody asks" {
				unavailable(t, k.p.Available(t.Context(), k.subject))
			}
		})
	}
}

// TestPolkitRemembers: an authorization that an administrator has polkit keep is
// of an earlier request.
func TestPolkitRemembers(t *testing.T) {
	k := newDialogs(t, strings.ReplaceAll(asked, "AUTH_SELF", "AUTH_SELF_KEEP"))
	agent := k.agent()
	a := k.begin(t.Context())
	agent.answer(1, testenv.PersonPassword)
	unavailable(t, a.result())
	unavailable(t, k.begin(t.Context()).result())
}

// TestPolkitOfOneself: a service of one user may ask about that user, and has
// no say in what the dialog says.
func TestPolkitOfOneself(t *testing.T) {
	k := newDialogs(t, asked)
	k.p = NewPolkit(Bus{connect: connectAs(k.System, testenv.PersonUID)}, false)
	agent := k.agent()
	a := k.begin(t.Context())
	agent.answer(1, testenv.PersonPassword)
	if err := a.result(); err != nil {
		t.Errorf("%v\n%s", err, agent.text())
	}
}

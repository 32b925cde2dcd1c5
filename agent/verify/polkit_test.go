package verify

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	p := k.Process(uid)
	return Subject{UID: uint32(uid), User: testenv.Person, PID: int32(p.Pid), Started: testenv.Started(k.t, p.Pid)}
}

func (k *dialogs) begin(ctx context.Context) *attempt {
	a := &attempt{k.t, make(chan string, 64), make(chan error, 1)}
	go func() {
		a.done <- k.p.Verify(ctx, k.subject, Request{Client: `<b>Bank</b> & $(user)`}, func(h string) { a.hints <- h })
	}()
	return a
}

// agent is the program of the person's desktop that asks for passwords.
func (k *dialogs) agent() *testenv.PolkitAgent {
	k.t.Helper()
	return k.StartAgent(int(k.subject.PID), k.subject.Started)
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
		agent.Answer(n+1, testenv.PersonPassword)
		if err := a.result(); err != nil {
			t.Fatalf("time %d: %v\n%s\n%s", n+1, err, agent.Text(), k.Log())
		}
	}
	const want = "approve a request of ?b?Bank?/b? ? ?(user)"
	if !strings.Contains(agent.Text(), want) {
		t.Errorf("the dialog does not say %q:\n%s", want, agent.Text())
	}
}

func TestPolkitWrongPassword(t *testing.T) {
	k := newDialogs(t, asked)
	agent := k.agent()
	a := k.begin(t.Context())
	agent.Answer(1, "wrong horse")
	if err := a.result(); !errors.Is(err, ErrNoMatch) {
		t.Errorf("got %v\n%s", err, agent.Text())
	}
}

// TestPolkitEndsWithItsCaller: polkit asks no more for a caller that went, and
// what is typed then is no answer to anything.
func TestPolkitEndsWithItsCaller(t *testing.T) {
	k := newDialogs(t, asked)
	agent := k.agent()
	ctx, cancel := context.WithCancel(t.Context())
	a := k.begin(ctx)
	agent.Asked(1)
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
	for name, end := range map[string]func(*dialogs, *testenv.PolkitAgent){
		"polkit killed": func(k *dialogs, _ *testenv.PolkitAgent) { k.StopPolkit() },
		"bus killed":    func(k *dialogs, _ *testenv.PolkitAgent) { k.StopBus() },
		"agent killed":  func(_ *dialogs, a *testenv.PolkitAgent) { a.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			k := newDialogs(t, asked)
			agent := k.agent()
			a := k.begin(t.Context())
			agent.Asked(1)
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
	agent.Answer(1, testenv.PersonPassword)
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
	agent.Answer(1, testenv.PersonPassword)
	if err := a.result(); err != nil {
		t.Errorf("%v\n%s", err, agent.Text())
	}
}

// TestPolkitByPIDFD names the process as the service does where the kernel and
// polkit can: over a connection that passes descriptors.
func TestPolkitByPIDFD(t *testing.T) {
	k := newDialogs(t, asked)
	fd, err := unix.PidfdOpen(int(k.subject.PID), 0)
	if err != nil {
		t.Fatal(err)
	}
	k.subject.PIDFD = os.NewFile(uintptr(fd), "pidfd")
	defer k.subject.PIDFD.Close()
	k.p = NewPolkit(Bus{Address: k.Address()}, true)
	agent := k.agent()
	a := k.begin(t.Context())
	agent.Answer(1, testenv.PersonPassword)
	if err := a.result(); err != nil {
		t.Errorf("%v\n%s", err, agent.Text())
	}
	k.subject.PIDFD.Close()
	k.subject.Started = 0
	unavailable(t, k.begin(t.Context()).result())
}

// TestPolkitNamesTheProcess by a pidfd from the version on that takes one.
func TestPolkitNamesTheProcess(t *testing.T) {
	for version, want := range map[string]bool{
		"": false, "0.105": false, "121": false, "122": false, "123": false, "124": true, "126": true, "127.1": true, "next": false,
	} {
		if got := pidfdSince(version); got != want {
			t.Errorf("polkit %q: %v", version, got)
		}
	}
}

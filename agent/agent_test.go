package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// TestStatusKeepsToItsScope: what is wrong with one user's profile is not told
// to another.
func TestStatusKeepsToItsScope(t *testing.T) {
	k := newKit(t)
	k.enroll("p_bob00000", testUID+1, "https://127.0.0.1:1")
	k.restart()
	for uid, other := range map[uint32]string{testUID: "p_bob00000", testUID + 1: k.id} {
		reasons := strings.Join(k.agent.degraded(t.Context(), scopeOf(uid)), "\n")
		if strings.Contains(reasons, other) || !strings.Contains(reasons, "user of ") {
			t.Errorf("uid %d is told: %s", uid, reasons)
		}
		if list := k.agent.visible(scopeOf(uid)); len(list) != 1 || list[0].get().UID != uid {
			t.Errorf("uid %d sees %d profiles", uid, len(list))
		}
		if _, err := k.agent.resolve(scopeOf(uid), other); codeOf(err) != ipc.CodeNotEnrolled {
			t.Errorf("uid %d finds the profile of another: %v", uid, err)
		}
	}
}

// TestLostServerKey: a profile whose key set lacks the key of an old request
// works on, keeps its chain and delivers what was decided.
func TestLostServerKey(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	first, err := k.decide("a", protocol.Approve)
	if err != nil {
		t.Fatal(err)
	}
	s := k.profile.get()
	k.server = newECDSA(t)
	s.JWKS = jwks(t, k.server)
	if err := k.dir.SaveProfile(s); err != nil {
		t.Fatal(err)
	}
	k.restart()
	if k.profile == nil {
		t.Fatal("the profile is gone")
	}
	if e, err := k.profile.outbox.next(t.Context()); err != nil || e.Decision != first.Decision {
		t.Errorf("to be delivered: %q %v", e.ID, err)
	}
	if prev, _ := k.profile.outbox.head(); prev != protocol.Hash([]byte(first.Decision)) {
		t.Error("the chain's end is lost")
	}
	k.list(1000, k.sign(k.request("b", protocol.C1)))
	if k.status("b") != statusPending {
		t.Errorf("a request of the new key is %q", k.status("b"))
	}
	if !strings.Contains(k.log.String(), "cannot be shown") {
		t.Error("nothing is logged")
	}
}

func TestRevokedIsForGood(t *testing.T) {
	k := newKit(t)
	k.list(1000, k.sign(k.request("a", protocol.C1)))
	k.profile.revoked(&protocol.Problem{Status: 410, Title: "Gone", Code: protocol.ProblemRevoked})
	if k.status("a") != "cancelled" {
		t.Errorf("what waited is %s", k.status("a"))
	}
	k.profile.setState(state.Active, "")
	k.profile.setState(state.Unconfirmed, "")
	k.restart()
	if got := k.profile.get().State; got != state.Revoked {
		t.Errorf("it is %s again", got)
	}
}

// TestStatesOnDiskAreTheLast: however changes of state meet, the disk has what
// the profile has.
func TestStatesOnDiskAreTheLast(t *testing.T) {
	k := newKit(t)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() { k.profile.setState([]string{state.Active, state.Unconfirmed}[i%2], "") })
	}
	all.Wait()
	now := k.profile.get().State
	k.restart()
	if got := k.profile.get().State; got != now {
		t.Errorf("it is %s on disk and was %s", got, now)
	}
}

func TestCheckWithoutAServer(t *testing.T) {
	k := newKit(t)
	if err := k.profile.check(t.Context()); codeOf(err) != ipc.CodeServer {
		t.Errorf("an unasked server: %v", err)
	}
}

// TestDamagedEnrollmentStopsNothing: the service starts, and says what is
// damaged.
func TestDamagedEnrollmentStopsNothing(t *testing.T) {
	k := newKit(t)
	if err := os.MkdirAll(filepath.Join(k.root, "enrolling", "damaged"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.restart()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.agent.Run(ctx); err != nil {
		t.Errorf("the service ends with %v", err)
	}
	if !strings.Contains(k.log.String(), "damaged") {
		t.Error("nothing is logged")
	}
}

// TestOnlyOldEnrollmentsAreResumed: one that a caller begins before the
// workers start is that caller's.
func TestOnlyOldEnrollmentsAreResumed(t *testing.T) {
	k := newKit(t)
	old := &state.Enrollment{Server: "https://127.0.0.1:1", Keys: state.Keys{Device: []byte("old"), Approval: []byte("old")}}
	if err := k.dir.BeginEnrollment(old); err != nil {
		t.Fatal(err)
	}
	k.restart()
	fresh := &state.Enrollment{Server: "https://127.0.0.1:1", Keys: state.Keys{Device: []byte("new"), Approval: []byte("new")}}
	if err := k.dir.BeginEnrollment(fresh); err != nil {
		t.Fatal(err)
	}
	if len(k.agent.unfinished) != 1 || k.agent.unfinished[0].Name != old.Name {
		t.Errorf("to be resumed: %d", len(k.agent.unfinished))
	}
}

// TestAbandonForgetsKeysThatAreNot: keys that the chip does not know need no
// deleting.
func TestAbandonForgetsKeysThatAreNot(t *testing.T) {
	k := newKit(t)
	e := &state.Enrollment{Keys: state.Keys{Device: []byte("foreign"), Approval: []byte("foreign")}}
	if err := k.dir.BeginEnrollment(e); err != nil {
		t.Fatal(err)
	}
	n := &enrolling{Enrollment: e, agent: k.agent, log: k.agent.cfg.Log}
	if err := n.abandon(); err != nil {
		t.Error(err)
	}
	if list, err := k.dir.Enrollments(); err != nil || len(list) != 0 {
		t.Errorf("left: %d %v", len(list), err)
	}
}

// TestReachTextIsClean: a server's certificate may hold any name.
func TestReachTextIsClean(t *testing.T) {
	err := fmt.Errorf("%w: %w", upstream.ErrUnreachable, errors.New("valid for \x1b[2J\u202ename\n"))
	if got := reachText(err); strings.ContainsAny(got, "\x1b\n\u202e") || !strings.Contains(got, "name") {
		t.Errorf("shown: %q", got)
	}
}

func TestPlausibleAnswers(t *testing.T) {
	good := protocol.Enrolled{Profile: "p_12345678", Device: "d_12345678", User: "alice", Issuer: testIssuer, DeviceURL: testIssuer}
	if !plausible(good) {
		t.Fatal("a good answer is refused")
	}
	for name, change := range map[string]func(*protocol.Enrolled){
		"path":              func(a *protocol.Enrolled) { a.Profile = "../../etc" },
		"hidden":            func(a *protocol.Enrolled) { a.Profile = ".tmp-12345678" },
		"no device":         func(a *protocol.Enrolled) { a.Device = "" },
		"no user":           func(a *protocol.Enrolled) { a.User = "" },
		"user with escapes": func(a *protocol.Enrolled) { a.User = "alice\x1b[2J" },
		"bidi user":         func(a *protocol.Enrolled) { a.User = "\u202eecila" },
		"long user":         func(a *protocol.Enrolled) { a.User = strings.Repeat("x", 2000) },
		"issuer in clear":   func(a *protocol.Enrolled) { a.Issuer = "http://server.example" },
		"URL in clear":      func(a *protocol.Enrolled) { a.DeviceURL = "http://server.example" },
	} {
		bad := good
		change(&bad)
		if plausible(bad) {
			t.Errorf("%s: taken", name)
		}
	}
}

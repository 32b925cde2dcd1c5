package session_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/notify"
	"countersign/session/prompt"
	"countersign/session/text"
)

const setUpText = "Set up your second factor"

// nobody answers no prompt.
type nobody struct{}

func (nobody) Ask(context.Context, prompt.Question) (ipc.Answer, error) {
	return ipc.Answer{}, prompt.ErrNoAnswer
}

// guided is a desktop whose person has no enrollment at the fleet's server.
type guided struct {
	t *testing.T
	*testenv.Desktop
	svc    *service
	memory session.Memory
	pages  chan string
	fails  error
	// late is what the guide's clock is ahead.
	late atomic.Int64
}

func newGuided(t *testing.T, kind testenv.Daemon, page string) *guided {
	t.Helper()
	t.Parallel()
	g := &guided{t: t, Desktop: testenv.StartDesktopWith(t, kind), svc: newService(t), pages: make(chan string, 4)}
	dir := t.TempDir()
	g.memory = session.Memory{LoginFile: filepath.Join(dir, "login"), LastingFile: filepath.Join(dir, "deep", "later")}
	g.svc.setup = &ipc.Setup{Server: "auth.example", URL: page}
	g.svc.start()
	return g
}

// login starts a session helper, and returns how it ends.
func (g *guided) login() (logout func()) {
	g.t.Helper()
	ready := make(chan struct{})
	n := notify.New(g.BusAddress, g.svc.log)
	n.Calm = true
	n.Words = notify.Words{Open: "Set up", Decline: "Later", Middle: "Middle-click to set it up, left-click for later.", Command: "c"}
	logout = run(g.t, &session.Session{
		Service: ipc.Dial(g.svc.socket), Notifier: notify.New(g.BusAddress, g.svc.log), Prompter: nobody{}, Log: g.svc.log,
		Ready: func() { close(ready) },
		Guide: &session.Guide{
			Inviter: n, Memory: g.memory, Log: g.svc.log, Text: text.In("en"),
			Now: func() time.Time { return time.Now().Add(time.Duration(g.late.Load())) },
			Open: func(_ context.Context, page string) error {
				g.pages <- page
				return g.fails
			},
		},
	})
	<-ready
	return logout
}

// anew ends the login, so that the next is another one.
func (g *guided) anew(logout func()) {
	g.t.Helper()
	logout()
	if err := g.memory.Show("another login"); err != nil {
		g.t.Fatal(err)
	}
}

// invited counts how often the invitation was shown.
func (g *guided) invited() int { return strings.Count(g.NotificationLog(), "'"+setUpText+"'") }

// notInvited logs in and demands that nothing is shown: what is told meanwhile
// comes alone.
func (g *guided) notInvited(why string) (logout func()) {
	g.t.Helper()
	before := g.invited()
	logout = g.login()
	g.svc.add(request(why))
	g.WaitShown(1)
	g.svc.close(request(why).ID, "approved")
	g.WaitShown(0)
	if n := g.invited(); n != before {
		g.t.Errorf("%s: invited %d times", why, n-before)
	}
	return logout
}

func TestInvitationIsTakenUp(t *testing.T) {
	const page = "https://auth.example/enroll?lang=en"
	g := newGuided(t, testenv.Daemons()[0], page)
	logout := g.login()
	waitTold(t, g.Desktop, setUpText)
	waitTold(t, g.Desktop, "auth.example asks for it when you sign in")
	g.PressOpen()
	select {
	case got := <-g.pages:
		if got != page {
			t.Errorf("opened %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no page was opened")
	}
	g.WaitShown(0)
	g.svc.mu.Lock()
	g.svc.setup = nil
	g.svc.emit(ipc.Event{Kind: ipc.EventSetup, Setup: &ipc.Setup{Server: "auth.example", Done: true}})
	g.svc.mu.Unlock()
	waitTold(t, g.Desktop, "This computer is your second factor now")
	logout()
}

// TestInvitationComesOnce: one in a login, however often the service or the helper
// starts anew; again at the next login, where nobody said later.
func TestInvitationComesOnce(t *testing.T) {
	g := newGuided(t, testenv.Daemons()[0], "https://auth.example/enroll")
	logout := g.login()
	g.WaitShown(1)
	g.svc.stop()
	g.svc.start()
	logout()
	g.WaitShown(0) // with the helper
	logout = g.notInvited("the helper started again")
	g.anew(logout)
	logout = g.login()
	g.WaitShown(1)
	if n := g.invited(); n != 2 {
		t.Errorf("invited %d times in two logins", n)
	}

	// Dismissed is later, for a day.
	g.PressBody()
	g.WaitShown(0)
	testenv.Eventually(t, "it is remembered", func() bool { return g.memory.Until().After(time.Now().Add(23 * time.Hour)) })
	g.anew(logout)
	logout = g.notInvited("it was put off")
	g.anew(logout)
	g.late.Store(int64(25 * time.Hour))
	logout = g.login()
	g.WaitShown(1)
	logout()
	if len(g.pages) > 0 {
		t.Error("a page was opened that nobody asked for")
	}
}

// TestInvitationHasTwoButtons presses the second one, where a daemon shows both.
func TestInvitationHasTwoButtons(t *testing.T) {
	for _, kind := range testenv.Daemons()[1:] {
		t.Run(kind.Name, func(t *testing.T) {
			g := newGuided(t, kind, "https://auth.example/enroll")
			g.login()
			g.Shot("invitation-"+kind.Name, func() testenv.Area { return g.WaitShown(1) })
			g.PressOpen() // which is where the last button is
			g.WaitShown(0)
			testenv.Eventually(t, "it is remembered", func() bool { return g.memory.Until().After(time.Now()) })
			if len(g.pages) > 0 {
				t.Error("later opened the page")
			}
		})
	}
}

// TestInvitationWithoutPage tells whom to ask, once a day.
func TestInvitationWithoutPage(t *testing.T) {
	for name, page := range map[string]string{"none": "", "no https": "http://auth.example/", "another program's": "file:///etc/passwd"} {
		t.Run(name, func(t *testing.T) {
			g := newGuided(t, testenv.Daemons()[0], page)
			logout := g.login()
			waitTold(t, g.Desktop, "Ask your administrator for your enrollment link for auth.example")
			g.WaitShown(0)
			g.anew(logout)
			logout = g.notInvited("it was told today")
			logout()
			if len(g.pages) > 0 {
				t.Error("a page was opened")
			}
		})
	}
}

func TestPageThatDoesNotOpenIsTold(t *testing.T) {
	g := newGuided(t, testenv.Daemons()[0], "https://auth.example/enroll")
	g.fails = context.DeadlineExceeded
	g.login()
	g.WaitShown(1)
	g.PressOpen()
	waitTold(t, g.Desktop, "Open it in your browser: https://auth.example/enroll")
}

func TestMemoryOfADamagedFile(t *testing.T) {
	dir := t.TempDir()
	m := session.Memory{LoginFile: filepath.Join(dir, "a"), LastingFile: filepath.Join(dir, "b")}
	if m.Shown("") || !m.Until().IsZero() {
		t.Error("nothing remembers something")
	}
	// A clock that was ahead must not keep the person from being led for ever.
	if err := m.Later(time.Now().Add(1000 * time.Hour)); err != nil || !m.Until().IsZero() {
		t.Errorf("a time far ahead is %v, %v", m.Until(), err)
	}
}

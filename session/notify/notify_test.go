package notify_test

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
	"countersign/session/notify"
)

const (
	service = "org.freedesktop.Notifications"
	object  = dbus.ObjectPath("/org/freedesktop/Notifications")
)

func start(t *testing.T) (*testenv.Desktop, *notify.Notifier, *testenv.Log) {
	t.Helper()
	return startWith(t, "")
}

// startWith is start with a second button of that name.
func startWith(t *testing.T, decline string) (*testenv.Desktop, *notify.Notifier, *testenv.Log) {
	t.Helper()
	t.Parallel()
	d := testenv.StartDesktop(t)
	l := new(testenv.Log)
	n := notify.New(d.BusAddress, slog.New(slog.NewTextHandler(l, nil)))
	n.Words.Decline = decline
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return d, n, l
}

// waiting is a note of something that waits.
func waiting(body string) notify.Note { return notify.Note{Summary: "Waiting", Body: body} }

func waitOpen(t *testing.T, n *notify.Notifier) {
	t.Helper()
	select {
	case <-n.Opens():
	case <-time.After(10 * time.Second):
		t.Fatal("the click did not arrive")
	}
}

func TestMiddleClickOpens(t *testing.T) {
	d, n, _ := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	d.Click("Dunst", 2)
	waitOpen(t, n)
}

func TestLeftClickDismisses(t *testing.T) {
	d, n, _ := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	d.Click("Dunst", 1)
	d.WaitNoNotification()
	n.Offer(notify.Note{Summary: "Waiting less", Body: "b"}, notify.Changed)
	n.Tell(notify.Note{Summary: "told"})
	testenv.Eventually(t, "told", func() bool { return strings.Contains(d.NotificationLog(), "'told'") })
	if strings.Contains(d.NotificationLog(), "Waiting less") {
		t.Error("what was dismissed came back for nothing")
	}
	n.Offer(notify.Note{Summary: "Waiting more", Body: "b"}, notify.Arrived)
	testenv.Eventually(t, "shown again", func() bool { return strings.Contains(d.NotificationLog(), "Waiting more") })
	if len(n.Opens()) > 0 {
		t.Error("dismissing opened the prompt")
	}
}

// TestForgedClicksAreDropped sends what another program of the same user can
// send: the right id and even the right key, broadcast and straight to us.
func TestForgedClicksAreDropped(t *testing.T) {
	d, n, l := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	key := regexp.MustCompile(`open-[0-9a-f]{32}`).FindString(d.NotificationLog())
	if key == "" {
		t.Fatal("no key of 128 bits was offered")
	}
	stranger := testenv.Stranger(t, d.BusAddress)
	for member, body := range map[string][]any{"ActionInvoked": {uint32(1), key}, "NotificationClosed": {uint32(1), uint32(2)}} {
		f := testenv.Forgery{Path: object, Interface: service, Member: member, Body: body}
		f.SendToAll(t, stranger)
		f.Broadcast(t, stranger)
	}
	testenv.Eventually(t, "the forgery is logged", func() bool {
		return l.Has("a signal from a stranger was dropped") && l.Has("NotificationClosed")
	})
	if len(n.Opens()) > 0 {
		t.Fatal("a forged click opened the prompt")
	}
	d.DunstAction()
	waitOpen(t, n)
}

// TestWhatIsSaidOfOthersIsNotForged: some daemons tell everybody of everybody's
// notifications, also a program that has shown none.
func TestWhatIsSaidOfOthersIsNotForged(t *testing.T) {
	d, n, l := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	n.Withdraw()
	d.WaitNoNotification()
	daemon := &fakeDaemon{caps: []string{"actions"}}
	daemon.replace(t, d)
	daemon.emit(t, "ActionInvoked", uint32(3), "of another program")
	daemon.emit(t, "NotificationClosed", uint32(3), uint32(2))
	// When the click on ours has arrived, what came before is read.
	n.Offer(waiting("b"), notify.Arrived)
	ours := daemon.waitNote(t, 1)
	testenv.WaitMeant()
	daemon.emit(t, "ActionInvoked", uint32(7), ours.actions[0])
	waitOpen(t, n)
	if l.Has("stranger") {
		t.Error("the daemon was taken for a stranger")
	}
}

// TestStaleAndForeignIDs has the daemon itself say ten thousand times that
// something was clicked on that is not what stands on the screen.
func TestStaleAndForeignIDs(t *testing.T) {
	d, n, l := startWith(t, "Later")
	daemon := &fakeDaemon{caps: []string{"actions"}}
	daemon.replace(t, d)
	offer := func(count int) note {
		n.Offer(waiting("b"), notify.Arrived)
		return daemon.waitNote(t, count)
	}
	replaced := offer(1)
	stands := offer(2)
	testenv.WaitMeant()
	for i := range 2500 {
		daemon.emit(t, "ActionInvoked", uint32(8+i), stands.actions[0])               // foreign
		daemon.emit(t, "ActionInvoked", uint32(7), replaced.actions[0])               // replaced
		daemon.emit(t, "ActionInvoked", uint32(0), "")                                // none
		daemon.emit(t, "ActionInvoked", uint32(7), fmt.Sprintf("open-%032x", 1000+i)) // guessed
	}
	// The other button is last: when that has arrived, all before it is read.
	daemon.emit(t, "ActionInvoked", uint32(7), stands.actions[2])
	<-n.Declines()
	daemon.emit(t, "NotificationClosed", uint32(7), uint32(2))
	daemon.emit(t, "ActionInvoked", uint32(7), stands.actions[0]) // closed
	testenv.WaitMeant()                                           // both are read, and what stood there was no new one
	again := offer(3)
	if again.replaces != 0 {
		t.Errorf("what was closed is replaced: %d", again.replaces)
	}
	if len(n.Opens()) > 0 {
		t.Fatal("what does not stand there opened the prompt")
	}
	testenv.WaitMeant()
	daemon.emit(t, "ActionInvoked", uint32(7), again.actions[0])
	waitOpen(t, n)
	if l.Has("stranger") {
		t.Error("the daemon was taken for a stranger")
	}
}

// TestALateEndIsOfTheOneBefore: the daemon tells of the end of a notification
// that has been replaced meanwhile, as dunst does after a click.
func TestALateEndIsOfTheOneBefore(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"actions"}})
	for count := range 2 {
		n.Offer(waiting("b"), notify.Arrived)
		daemon.waitNote(t, count+1)
	}
	daemon.emit(t, "NotificationClosed", uint32(7), uint32(2))
	testenv.WaitMeant()
	n.Offer(waiting("c"), notify.Remains)
	if got := daemon.waitNote(t, 3); got.replaces != 7 {
		t.Errorf("another notification stands beside the first: %+v", got)
	}
}

// TestTooEarly clicks on what has not been there long enough to be meant; the
// daemon closes it, as daemons do, and it comes back.
func TestTooEarly(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"actions"}})
	n.Offer(waiting("b"), notify.Arrived)
	first := daemon.waitNote(t, 1)
	daemon.emit(t, "ActionInvoked", uint32(7), first.actions[0])
	daemon.emit(t, "NotificationClosed", uint32(7), uint32(2))
	second := daemon.waitNote(t, 2)
	if second.actions[0] == first.actions[0] || second.replaces != 0 || len(n.Opens()) > 0 {
		t.Errorf("%+v after %+v, %d openings", second, first, len(n.Opens()))
	}
}

// TestRefusedToReplace has a daemon refuse ids it does not know, as GNOME Shell
// does.
func TestRefusedToReplace(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"actions"}, strict: true})
	n.Offer(waiting("b"), notify.Arrived)
	daemon.waitNote(t, 1)
	n.Offer(waiting("c"), notify.Arrived)
	if got := daemon.waitNote(t, 2); got.replaces != 0 || got.body != "c" {
		t.Errorf("%+v", got)
	}
}

// TestTheBusStartsADaemonAgain lets a daemon die that nobody but the bus starts.
func TestTheBusStartsADaemonAgain(t *testing.T) {
	d, n, _ := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	d.LetBusStartDaemon()
	d.StopDaemon()
	d.WaitNotification()
}

// TestDefaultAndOldKeysDoNotOpen has the real daemon's signals forged by
// taking its place on the bus.
func TestDefaultAndOldKeysDoNotOpen(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"actions"}})
	n.Offer(waiting("<b>1 & 2</b>"), notify.Arrived)
	first := daemon.waitNote(t, 1)
	if first.body != "<b>1 & 2</b>" {
		t.Errorf("body %q was escaped without markup", first.body)
	}
	if len(first.actions) != 2 || first.actions[1] != "Open" {
		t.Errorf("actions %q", first.actions)
	}
	n.Offer(waiting("c"), notify.Arrived)
	second := daemon.waitNote(t, 2)
	if second.replaces != 7 || second.actions[0] == first.actions[0] {
		t.Errorf("replaces %d, action %q after %q", second.replaces, second.actions, first.actions)
	}
	testenv.WaitMeant()
	for _, key := range []string{"default", "", first.actions[0]} {
		daemon.emit(t, "ActionInvoked", uint32(7), key)
	}
	daemon.emit(t, "ActionInvoked", uint32(8), second.actions[0])
	daemon.emit(t, "ActionInvoked", uint32(7), second.actions[0])
	waitOpen(t, n)
	daemon.emit(t, "ActionInvoked", uint32(7), second.actions[0])
	n.Offer(waiting("d"), notify.Arrived)
	daemon.waitNote(t, 3)
	if len(n.Opens()) > 0 {
		t.Error("one click opened twice, or another opened at all")
	}
}

func TestNoActionsNoButton(t *testing.T) {
	n, daemon := startFake(t, &fakeDaemon{caps: []string{"body-markup"}})
	n.Offer(waiting("<b>"), notify.Arrived)
	got := daemon.waitNote(t, 1)
	if len(got.actions) > 0 || !strings.HasPrefix(got.body, "&lt;b&gt;\n") || !strings.Contains(got.body, "countersign requests") {
		t.Errorf("%+v", got)
	}
}

func TestOldMessagesAreForgotten(t *testing.T) {
	t.Parallel()
	d := testenv.StartDesktop(t)
	n := notify.New(d.BusAddress, slog.New(slog.DiscardHandler))
	for i := range 100 {
		n.Tell(notify.Note{Summary: fmt.Sprintf("told %d", i)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	testenv.Eventually(t, "the last is told", func() bool { return strings.Contains(d.NotificationLog(), "'told 99'") })
	if strings.Contains(d.NotificationLog(), "'told 0'") {
		t.Error("everything that nobody was there to see is told at last")
	}
}

func TestWithdrawAndEndCloseIt(t *testing.T) {
	d, n, _ := start(t)
	n.Offer(waiting("b"), notify.Arrived)
	d.WaitNotification()
	n.Withdraw()
	d.WaitNoNotification()
}

func TestNoDaemonThenOne(t *testing.T) {
	d, n, l := start(t)
	d.StopDaemon()
	n.Offer(waiting("b"), notify.Arrived)
	testenv.Eventually(t, "it is logged", func() bool { return l.Has("was not shown") || l.Has("daemon is away") })
	d.StartDaemon()
	d.WaitNotification()
}

// fakeDaemon is a daemon that does what dunst would not: it misbehaves.
type fakeDaemon struct {
	caps []string
	// strict refuses to replace.
	strict bool
	conn   *dbus.Conn
	mu     sync.Mutex
	got    []note
}

type note struct {
	replaces uint32
	body     string
	actions  []string
}

// startFake is start with a fake daemon in the place of the real one.
func startFake(t *testing.T, f *fakeDaemon) (*notify.Notifier, *fakeDaemon) {
	t.Helper()
	d, n, _ := start(t)
	f.replace(t, d)
	return n, f
}

// replace takes the place of a desktop's daemon.
func (f *fakeDaemon) replace(t *testing.T, d *testenv.Desktop) {
	t.Helper()
	d.StopDaemon()
	conn, err := dbus.Connect(d.BusAddress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f.conn = conn
	if err := conn.Export(f, object, service); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
}

func (f *fakeDaemon) GetCapabilities() ([]string, *dbus.Error) { return f.caps, nil }

func (f *fakeDaemon) GetServerInformation() (name, vendor, version, spec string, err *dbus.Error) {
	return "fake", "none", "1", "1.2", nil
}

func (f *fakeDaemon) Notify(_ string, replaces uint32, _, _, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.strict && replaces != 0 {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"Invalid notification ID"})
	}
	f.got = append(f.got, note{replaces, body, actions})
	return 7, nil
}

func (f *fakeDaemon) CloseNotification(uint32) *dbus.Error { return nil }

func (f *fakeDaemon) waitNote(t *testing.T, count int) (last note) {
	t.Helper()
	testenv.Eventually(t, "a notification arrives", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.got) >= count {
			last = f.got[count-1]
		}
		return len(f.got) >= count
	})
	return last
}

func (f *fakeDaemon) emit(t *testing.T, member string, body ...any) {
	t.Helper()
	if err := f.conn.Emit(object, service+"."+member, body...); err != nil {
		t.Fatal(err)
	}
}

package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.Notifications"
	object  = dbus.ObjectPath("/org/freedesktop/Notifications")
	bus     = "org.freedesktop.DBus"
	appName = "Countersign"

	// callLimit bounds each call: a daemon that hangs must not hang us.
	callLimit = 5 * time.Second
	// retryAfter is for a daemon that is there and failed.
	retryAfter = 3 * time.Second
	// reviveAfter is how long a daemon that died is left to whoever started it.
	reviveAfter = 2 * time.Second
	tellFor     = 6 * time.Second

	// settle is how long a notification must have been there before a click on
	// it counts. Daemons that show one at a time put the next one, with its
	// button, under the pointer that has just clicked.
	settle = 300 * time.Millisecond

	// unseen is the version of no offer.
	unseen = -1
)

// Urgencies of the notification specification.
const (
	urgencyNormal   = byte(1)
	urgencyCritical = byte(2)
)

// errLost says that a bus that had been reached is gone.
var errLost = errors.New("the session bus closed the connection")

// connection is one connection to the bus, used by one goroutine only. Calls
// are made one after the other and signals read in between, in their order:
// a signal about a notification is never seen before its id is known.
type connection struct {
	n    *Notifier
	conn *dbus.Conn

	// About the daemon, forgotten when the name changes hands.
	owner  string
	caps   []string
	server string
	vendor string

	// About the standing notification. The id is 0 when none is shown.
	id        uint32
	note      Note
	key       string
	decline   string // the second button's key
	seen      int
	dismissed bool
	// shown is when it was shown or replaced; early says that it was clicked on
	// too soon for the click to count.
	shown time.Time
	early bool
	// replaced says that it took the place of another.
	replaced bool
	// retry, unless nil, says when what is wanted is shown again.
	retry <-chan time.Time
}

// serve connects and works until ctx ends or the bus goes away.
func (n *Notifier) serve(ctx context.Context) error {
	conn, err := dbus.Connect(n.address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return fmt.Errorf("session bus: %w", err)
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	c := &connection{n: n, conn: conn}
	if err := c.subscribe(ctx); err != nil {
		return fmt.Errorf("session bus: %w", err)
	}
	for {
		c.update(ctx)
		select {
		case <-ctx.Done():
			c.withdraw(context.WithoutCancel(ctx))
			return nil
		case s, ok := <-signals:
			if !ok {
				return errLost
			}
			c.signal(s)
		case <-n.wake:
		case <-c.retry:
			c.retry, c.seen = nil, unseen
		}
	}
}

func (c *connection) subscribe(ctx context.Context) error {
	err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(service), dbus.WithMatchObjectPath(object), dbus.WithMatchSender(service))
	if err != nil {
		return err
	}
	err = c.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(bus), dbus.WithMatchSender(bus),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service))
	if err != nil {
		return err
	}
	// Some daemons tell everybody of everybody's notifications: it must be known
	// who the daemon is before anything of ours is shown, or its word about others
	// counts as forged.
	err = c.whoServes(ctx)
	if e, ok := errors.AsType[dbus.Error](err); ok && e.Name == bus+".Error.NameHasNoOwner" {
		return nil
	}
	return err
}

// whoServes records who owns the name of the daemon.
func (c *connection) whoServes(ctx context.Context) error {
	return c.call(ctx, c.conn.BusObject(), bus+".GetNameOwner", service).Store(&c.owner)
}

// update brings the screen in line with what is wanted.
func (c *connection) update(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	want, tells := c.n.wanted()
	for _, note := range tells {
		if _, err := c.notify(ctx, note, 0, nil, tellFor); err != nil {
			c.n.log.Info("a notification was not shown", "error", err)
		}
	}
	if want.version == c.seen {
		return
	}
	if want.note == nil {
		c.withdraw(ctx)
	} else if !c.dismissed || want.anew {
		if err := c.stand(ctx, *want.note); err != nil {
			c.failed(err, want.version)
			return
		}
	}
	c.seen = want.version
}

// failed waits for a daemon to appear where there is none, which the bus will
// say, and tries again soon where one refused.
func (c *connection) failed(err error, version int) {
	c.n.log.Warn("the notification was not shown", "error", err)
	c.seen = version
	if e, ok := errors.AsType[dbus.Error](err); ok && e.Name == bus+".Error.ServiceUnknown" {
		return
	}
	c.id = 0
	c.retry = time.After(retryAfter)
}

// stand shows or replaces the standing notification. Its only action has a
// new key each time; "default" is never offered, because some daemons invoke
// it for clicks that mean nothing of the kind.
func (c *connection) stand(ctx context.Context, note Note) error {
	key, decline := newKey(), ""
	actions := []string{key, c.n.Words.Open}
	if c.n.Words.Decline != "" {
		decline = newKey()
		actions = append(actions, decline, c.n.Words.Decline)
	}
	id, err := c.notify(ctx, note, c.id, actions, 0)
	if _, refused := errors.AsType[dbus.Error](err); refused && c.id != 0 {
		// GNOME Shell refuses to replace what it does not show any more.
		id, err = c.notify(ctx, note, 0, actions, 0)
	}
	if err != nil {
		return err
	}
	c.replaced = c.id != 0
	c.id, c.note, c.key, c.decline, c.dismissed = id, note, key, decline, false
	c.shown, c.early, c.retry = time.Now(), false, nil
	// Whoever owned the name when it answered is the one to believe. Had the
	// name changed hands meanwhile, a signal saying so is on its way and
	// everything is shown again.
	return c.whoServes(ctx)
}

func newKey() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	return "open-" + hex.EncodeToString(nonce[:])
}

func (c *connection) withdraw(ctx context.Context) {
	if c.id == 0 {
		return
	}
	if err := c.take(ctx); err != nil {
		c.n.log.Debug("a notification was not closed", "error", err)
	}
	c.id, c.key, c.decline, c.dismissed = 0, "", "", false
}

// take closes the standing notification. GNOME's old notification-daemon says
// that it has closed one and leaves it on the screen, but one that is replaced
// by one that expires does go away.
func (c *connection) take(ctx context.Context) error {
	if c.server == "Notification Daemon" && c.vendor == "GNOME" {
		_, err := c.notify(ctx, c.note, c.id, nil, time.Millisecond)
		return err
	}
	return c.call(ctx, c.daemon(), service+".CloseNotification", c.id).Err
}

// notify calls Notify. One that expires after a time, which 0 does not, needs
// no answer: it is not urgent, has no button and is in no history.
func (c *connection) notify(ctx context.Context, note Note, replaces uint32, actions []string, expires time.Duration) (id uint32, err error) {
	if err := c.ask(ctx); err != nil {
		return 0, err
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(c.urgency())}
	body := note.Body
	if expires > 0 {
		actions = []string{}
		hints = map[string]dbus.Variant{"urgency": dbus.MakeVariant(urgencyNormal), "transient": dbus.MakeVariant(true)}
	} else {
		body, actions = c.hint(body, actions)
	}
	if slices.Contains(c.caps, "body-markup") {
		body = html.EscapeString(body)
	}
	err = c.call(ctx, c.daemon(), service+".Notify", appName, replaces, "dialog-password",
		note.Summary, body, actions, hints, int32(expires.Milliseconds())).Store(&id)
	return id, err
}

func (c *connection) urgency() byte {
	if c.n.Calm {
		return urgencyNormal
	}
	return urgencyCritical
}

// hint adds how to open where no button shows: dunst has none, though it says
// that it knows actions.
func (c *connection) hint(body string, actions []string) (string, []string) {
	switch {
	case !slices.Contains(c.caps, "actions"):
		return body + "\n" + c.n.Words.Command, []string{}
	case c.server == "dunst":
		// With one action the middle button does it; of several it asks in a menu of
		// another program. What is dismissed is declined.
		return body + "\n" + c.n.Words.Middle, actions[:2]
	}
	return body, actions
}

// ask learns what the daemon can do, once per daemon.
func (c *connection) ask(ctx context.Context) error {
	if c.caps != nil {
		return nil
	}
	caps := []string{}
	if err := c.call(ctx, c.daemon(), service+".GetCapabilities").Store(&caps); err != nil {
		return err
	}
	var version, spec string
	if err := c.call(ctx, c.daemon(), service+".GetServerInformation").Store(&c.server, &c.vendor, &version, &spec); err != nil {
		return err
	}
	c.n.log.Info("a notification daemon answers", "name", c.server, "version", version)
	c.caps = caps
	return nil
}

func (c *connection) daemon() dbus.BusObject { return c.conn.Object(service, object) }

func (c *connection) call(ctx context.Context, o dbus.BusObject, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return o.CallWithContext(ctx, method, 0, args...)
}

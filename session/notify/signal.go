package notify

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// signal handles one signal. The bus delivers what any program of the user
// addresses to us, match rules or not, but it never lets a sender lie about
// who it is: the sender decides.
func (c *connection) signal(s *dbus.Signal) {
	switch s.Name {
	case bus + ".NameOwnerChanged":
		if s.Sender == bus {
			c.ownerChanged(s.Body)
			return
		}
	case service + ".ActionInvoked", service + ".NotificationClosed":
		if c.owner != "" && s.Sender == c.owner && s.Path == object {
			c.event(s)
			return
		}
	default:
		return
	}
	c.n.stranger(s.Name, s.Sender)
}

// ownerChanged forgets everything about the daemon before: its notifications
// are gone with it.
func (c *connection) ownerChanged(body []any) {
	var name, before, now string
	if dbus.Store(body, &name, &before, &now) != nil || name != service || now == c.owner {
		return
	}
	*c = connection{n: c.n, conn: c.conn, owner: now}
	if now == "" {
		c.n.log.Info("the notification daemon is away")
		// At first nothing is called: a call would make the bus start one,
		// perhaps not the one its user wants and is about to start.
		c.seen = c.n.version()
		c.retry = time.After(reviveAfter)
	}
}

func (c *connection) event(s *dbus.Signal) {
	var id uint32
	if s.Name == service+".NotificationClosed" {
		var reason uint32
		if dbus.Store(s.Body, &id, &reason) == nil && id == c.id && id != 0 {
			if c.replaced && time.Since(c.shown) < settle {
				return // it is the end of the one before, which the daemon told too late
			}
			const byPerson = 2
			if reason == byPerson && c.decline != "" && c.key != "" && !c.early {
				poke(c.n.declines)
			}
			c.id, c.key, c.decline, c.dismissed = 0, "", "", !c.early
		}
		return
	}
	var key string
	if dbus.Store(s.Body, &id, &key) != nil || id != c.id || key == "" || key != c.key && key != c.decline {
		return
	}
	declined := key == c.decline
	c.key, c.decline = "", "" // one click, one opening
	if time.Since(c.shown) < settle {
		// The daemon is about to close it, so it is shown again after that.
		c.early, c.retry = true, time.After(settle)
		return
	}
	if declined {
		poke(c.n.declines)
		return
	}
	poke(c.n.opens)
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

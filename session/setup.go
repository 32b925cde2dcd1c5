package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/text"
)

// laterFor is how long a person who said "later" is left alone, and how often one
// is told who cannot be led anywhere.
const laterFor = 24 * time.Hour

// Inviter shows one notification with two answers; *notify.Notifier does.
type Inviter interface {
	Run(ctx context.Context) error
	Offer(n notify.Note, why notify.Why)
	Withdraw()
	Tell(n notify.Note)
	Opens() <-chan struct{}
	Declines() <-chan struct{}
}

// Guide leads a person who has no enrollment at the server of this computer's fleet
// to the page that has a link for them: once in a login session, and not again for
// a day once they said so. It enrolls nobody: the link is opened, and answered, as
// any other.
type Guide struct {
	Inviter Inviter
	// Open shows a page in the person's browser.
	Open func(ctx context.Context, page string) error
	// Memory is what outlives this process.
	Memory Memory
	Text   text.Printer
	Log    *slog.Logger
	Now    func() time.Time

	// wants is what to lead to now, nil for nothing.
	wants chan *wanted
	// current is what stands on the screen; shown says that something did, and
	// answered that the person has answered it.
	current         *wanted
	shown, answered bool
}

// wanted is an enrollment to lead to, in a login session.
type wanted struct {
	ipc.Setup
	login string
}

// lead has the guide lead to an enrollment, or to none. It does not wait.
func (g *Guide) lead(w *wanted) {
	for {
		select {
		case g.wants <- w:
			return
		default:
		}
		select {
		case <-g.wants: // what was wanted before
		default:
		}
	}
}

// run works until ctx ends. The bus is connected to when there is something to say.
func (g *Guide) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := sync.OnceFunc(func() {
		wg.Go(func() {
			if err := g.Inviter.Run(ctx); err != nil {
				g.Log.Warn("the invitation to enroll is not shown", "error", err)
			}
		})
	})
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-g.wants:
			if w != nil {
				begin()
			}
			g.turn(w)
		case <-g.Inviter.Opens():
			g.open(ctx)
		case <-g.Inviter.Declines():
			g.later()
		}
	}
}

// turn shows an invitation or takes it away.
func (g *Guide) turn(w *wanted) {
	switch {
	case w == nil:
		g.Inviter.Withdraw()
		g.current = nil
	case g.answered || g.current != nil:
	case !g.shown && !g.mayShow(w):
		g.answered = true // and not looked at again
	case w.URL == "" || !ipc.ValidPage(w.URL):
		g.answered = true
		g.remember(g.Memory.Later(g.Now().Add(laterFor)))
		g.Inviter.Tell(g.note(w))
	default:
		g.current, g.shown = w, true
		g.remember(g.Memory.Show(w.login))
		g.Inviter.Offer(g.note(w), notify.Arrived)
	}
}

// mayShow reports whether the person has neither been asked in this login session
// nor put it off.
func (g *Guide) mayShow(w *wanted) bool {
	return !g.Memory.Shown(w.login) && !g.Now().Before(g.Memory.Until())
}

func (g *Guide) remember(err error) {
	if err != nil {
		g.Log.Warn("that the invitation was shown is not remembered", "error", err)
	}
}

func (g *Guide) note(w *wanted) notify.Note {
	n := notify.Note{Summary: g.Text.T("Set up your second factor"), Body: g.Text.T("This computer can be it. %s asks for it when you sign in.", w.Server)}
	if w.URL == "" || !ipc.ValidPage(w.URL) {
		n.Body = g.Text.T("Ask your administrator for your enrollment link for %s.", w.Server)
	}
	return n
}

// open shows the page. What becomes of it the service will say.
func (g *Guide) open(ctx context.Context) {
	w := g.current
	if w == nil {
		return
	}
	g.answered, g.current = true, nil
	g.Inviter.Withdraw()
	if err := g.Open(ctx, w.URL); err != nil {
		g.Log.Warn("the page with the enrollment link is not opened", "error", err)
		g.Inviter.Tell(notify.Note{Summary: g.Text.T("The page could not be opened"), Body: g.Text.T("Open it in your browser: %s", w.URL)})
	}
}

// later puts it off.
func (g *Guide) later() {
	if g.current == nil {
		return
	}
	g.answered, g.current = true, nil
	g.Inviter.Withdraw()
	g.remember(g.Memory.Later(g.Now().Add(laterFor)))
}

// setUp takes in whether the person has an enrollment at the server of this
// computer's fleet.
func (l *loop) setUp(s ipc.Setup) {
	if l.Guide == nil {
		return
	}
	if s.Done {
		l.setup = nil
		l.tell(notify.Note{Summary: l.Text.T("This computer is your second factor now"), Body: l.Text.T("Requests from %s are shown here.", s.Server)})
	} else {
		l.setup = &s
	}
	l.lead()
}

// lead shows the invitation while somebody is there to answer it.
func (l *loop) lead() {
	if l.Guide == nil {
		return
	}
	var w *wanted
	if l.setup != nil && l.held() == free {
		w = &wanted{*l.setup, l.seat.Session}
	}
	l.Guide.lead(w)
}

package session

import (
	"context"
	"slices"

	"countersign/ipc"
	"countersign/session/logind"
	"countersign/session/notify"
)

// loop is the state of a running session. One goroutine owns it; the stream
// and the prompts work in goroutines of their own and report to it.
type loop struct {
	*Session
	stream chan event
	states <-chan logind.State
	phase  chan phase
	done   chan outcome

	// turn is held by the prompt on the screen.
	turn chan struct{}
	able *ability

	// seat is how this login session stands, once seated says that it is known.
	// later is what is told when somebody is there again.
	seat   logind.State
	seated bool
	later  []notify.Note

	// pending is what waits for an answer, oldest first; skipped is what the
	// person has put off since the last arrival.
	pending []ipc.Request
	skipped map[string]bool
	// starting is true from a stream's start until it is ready. What is not
	// told again by then is over; fresh says that something new was.
	starting bool
	told     map[string]bool
	fresh    bool
	ready    bool

	// open are the requests being asked about or decided, by id.
	open map[string]*opened
	// setup is the enrollment that the person is led to, nil for none.
	setup *ipc.Setup
	// unconfirmed has the relying party's name of each decision made here
	// whose end the user has not been told.
	unconfirmed map[string]string
}

func (l *loop) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for range l.open {
				<-l.done
			}
			return
		case e := <-l.stream:
			l.handle(e)
		case s := <-l.states:
			l.sit(s)
		case <-l.Notifier.Opens():
			l.openNext(ctx)
		case p := <-l.phase:
			l.turned(p)
		case o := <-l.done:
			l.finish(o)
		}
	}
}

func (l *loop) handle(e event) {
	switch {
	case e.started:
		l.starting, l.told, l.fresh = true, map[string]bool{}, false
	case e.Kind == ipc.EventPending && e.Request != nil:
		l.arrived(*e.Request)
	case e.Kind == ipc.EventClosed && e.Request != nil:
		l.closed(*e.Request)
	case e.Kind == ipc.EventResult && e.Result != nil:
		l.result(*e.Result)
	case e.Kind == ipc.EventTouch:
		l.tellNow(l.touchNote(e.Request))
	case e.Kind == ipc.EventVerify && e.Request != nil:
		l.tellNow(l.verifyNote(e.Hint, *e.Request))
	case e.Kind == ipc.EventProfile && e.Profile != nil:
		if n, worth := l.profileNote(*e.Profile); worth {
			l.tell(n)
		}
	case e.Kind == ipc.EventSetup && e.Setup != nil:
		l.setUp(*e.Setup)
	case e.Kind == ipc.EventReady:
		l.caughtUp()
	}
}

// arrived takes in a request that waits. The same one told again is no news.
func (l *loop) arrived(r ipc.Request) {
	if l.starting {
		l.told[r.ID] = true
	}
	if i := l.index(r.ID); i >= 0 {
		l.changed(i, r)
		return
	}
	at := slices.IndexFunc(l.pending, func(p ipc.Request) bool { return r.ReceivedAt.Before(p.ReceivedAt) })
	if at < 0 {
		at = len(l.pending)
	}
	l.pending = slices.Insert(l.pending, at, r)
	if r.Quiet != "" {
		return // it is listed, and nobody is prompted
	}
	clear(l.skipped)
	l.fresh = true
	l.offer(notify.Arrived)
}

// changed takes in what the service says anew of a request that is known: that
// nobody is prompted for it any more, or that somebody is again.
func (l *loop) changed(i int, r ipc.Request) {
	was := l.pending[i].Quiet
	l.pending[i] = r
	switch {
	case was == r.Quiet:
	case r.Quiet == "":
		l.fresh = true
		l.offer(notify.Arrived)
	case was == "":
		l.offer(notify.Changed)
	}
}

// loud are the requests that the person is prompted for, oldest first.
func (l *loop) loud() []ipc.Request {
	return slices.DeleteFunc(slices.Clone(l.pending), func(r ipc.Request) bool { return r.Quiet != "" })
}

// caughtUp drops what the service no longer knows, and offers what waits in
// one notification.
func (l *loop) caughtUp() {
	for _, r := range slices.Clone(l.pending) {
		if !l.told[r.ID] {
			l.gone(r.ID)
		}
	}
	l.starting = false
	if l.fresh {
		l.offer(notify.Arrived)
	} else {
		l.offer(notify.Changed)
	}
	if !l.ready && l.Ready != nil {
		l.Ready()
	}
	l.ready = true
}

// closed handles a request that ended without an answer from here.
func (l *loop) closed(r ipc.Request) {
	if o := l.open[r.ID]; o != nil {
		l.tell(l.ended(o.request, r.Status))
	}
	l.gone(r.ID)
}

// result handles what became of a decision, made here or elsewhere.
func (l *loop) result(r ipc.Result) {
	if o := l.open[r.ID]; o != nil {
		o.result = &r
	} else if client, ok := l.unconfirmed[r.ID]; ok && r.Confirmed {
		delete(l.unconfirmed, r.ID)
		l.tell(l.sent(client, r))
	}
	l.gone(r.ID)
}

// gone takes a request off the list and its prompt off the screen.
func (l *loop) gone(id string) {
	if o := l.open[id]; o != nil {
		o.dismiss()
	}
	delete(l.skipped, id)
	if i := l.index(id); i >= 0 {
		l.pending = slices.Delete(l.pending, i, i+1)
		l.offer(notify.Changed)
	}
}

func (l *loop) index(id string) int {
	return slices.IndexFunc(l.pending, func(r ipc.Request) bool { return r.ID == id })
}

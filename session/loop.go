package session

import (
	"context"
	"slices"

	"countersign/ipc"
	"countersign/session/notify"
)

// loop is the state of a running session. One goroutine owns it; the stream
// and the open prompt work in goroutines of their own and report to it.
type loop struct {
	*Session
	stream chan event
	done   chan outcome

	// pending is what waits for an answer, oldest first.
	pending []ipc.Request
	// starting is true from a stream's start until it is ready. What is not
	// told again by then is over; fresh says that something new was.
	starting bool
	told     map[string]bool
	fresh    bool
	ready    bool

	// open is the prompt on the screen, or nil.
	open *opened
	// unconfirmed has the relying party's name of each decision made here
	// whose end the user has not been told.
	unconfirmed map[string]string
}

// opened is a request being asked about or decided.
type opened struct {
	request ipc.Request
	// dismiss takes the prompt away. It does not stop a decision under way.
	dismiss context.CancelFunc
	// result is what the stream said of it meanwhile.
	result *ipc.Result
}

func (l *loop) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			if l.open != nil {
				<-l.done
			}
			return
		case e := <-l.stream:
			l.handle(e)
		case <-l.Notifier.Opens():
			l.openOldest(ctx)
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
		l.Notifier.Tell(l.touchNote(e.Request))
	case e.Kind == ipc.EventVerify && e.Request != nil:
		l.Notifier.Tell(l.verifyNote(e.Hint, *e.Request))
	case e.Kind == ipc.EventProfile && e.Profile != nil:
		if n, worth := l.profileNote(*e.Profile); worth {
			l.Notifier.Tell(n)
		}
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
	if l.open != nil && l.open.request.ID == r.ID {
		l.Notifier.Tell(l.ended(l.open.request, r.Status))
	}
	l.gone(r.ID)
}

// result handles what became of a decision, made here or in a terminal.
func (l *loop) result(r ipc.Result) {
	if l.open != nil && l.open.request.ID == r.ID {
		l.open.result = &r
	} else if client, ok := l.unconfirmed[r.ID]; ok && r.Confirmed {
		delete(l.unconfirmed, r.ID)
		l.Notifier.Tell(l.sent(client, r))
	}
	l.gone(r.ID)
}

// gone takes a request off the list and its prompt off the screen.
func (l *loop) gone(id string) {
	if l.open != nil && l.open.request.ID == id {
		l.open.dismiss()
	}
	if i := l.index(id); i >= 0 {
		l.pending = slices.Delete(l.pending, i, i+1)
		l.offer(notify.Changed)
	}
}

func (l *loop) index(id string) int {
	return slices.IndexFunc(l.pending, func(r ipc.Request) bool { return r.ID == id })
}

// offer keeps the one notification in line with what waits besides the open
// prompt. While a stream starts it holds still, to speak once for all.
func (l *loop) offer(why notify.Why) {
	if l.starting {
		return
	}
	waiting := l.loud()
	if l.open != nil {
		waiting = slices.DeleteFunc(waiting, func(r ipc.Request) bool { return r.ID == l.open.request.ID })
	}
	if len(waiting) == 0 {
		l.Notifier.Withdraw()
		return
	}
	l.Notifier.Offer(l.waitingNote(waiting), why)
}

// openOldest asks about the oldest request, unless a prompt is already open.
func (l *loop) openOldest(ctx context.Context) {
	waiting := l.loud()
	if l.open != nil || len(waiting) == 0 {
		return
	}
	r := waiting[0]
	asking, dismiss := context.WithCancel(ctx)
	l.open = &opened{request: r, dismiss: dismiss}
	l.offer(notify.Changed)
	go func() { l.done <- l.attend(ctx, asking, r.ID) }()
}

// finish handles the end of a prompt. A request without an answer is offered
// again, not opened.
func (l *loop) finish(o outcome) {
	open := l.open
	l.open = nil
	open.dismiss()
	switch {
	case o.decided:
		l.decided(open, o)
	case open.result != nil:
		l.Notifier.Tell(l.ended(open.request, open.result.Status))
	case o.err != nil:
		l.Log.Error("the request could not be asked about", "request", open.request.ID, "error", o.err)
		l.Notifier.Tell(l.failedNote(open.request, o.err))
	}
	l.offer(notify.Remains)
}

// decided tells what became of an answer that was handed in.
func (l *loop) decided(open *opened, o outcome) {
	client := clientName(open.request)
	if open.result != nil && (o.err != nil || open.result.Confirmed) {
		// The stream knew better than the call that broke or came too soon.
		o.result, o.err = *open.result, nil
	}
	if o.err != nil {
		l.Log.Warn("the answer was refused", "request", open.request.ID, "error", o.err)
		l.Notifier.Tell(l.refusedNote(open.request, o.err))
		if !unclear(o.err) {
			return
		}
	} else {
		if i := l.index(o.result.ID); i >= 0 {
			l.pending = slices.Delete(l.pending, i, i+1)
		}
		l.Notifier.Tell(l.sent(client, o.result))
		if o.result.Confirmed {
			return
		}
	}
	l.unconfirmed[open.request.ID] = client
}

package session

import (
	"context"
	"slices"

	"countersign/ipc"
	"countersign/session/notify"
)

// opened is a request being asked about or decided.
type opened struct {
	request ipc.Request
	// dismiss takes the prompt away. It does not stop a decision under way.
	dismiss context.CancelFunc
	// asking says that its prompt is on the screen, or about to be; else its
	// answer is being decided.
	asking bool
	// taken says that the prompt was taken away from the person.
	taken bool
	// result is what the stream said of it meanwhile.
	result *ipc.Result
}

// phase is what a request being attended to is about: asking or deciding.
type phase struct {
	id     string
	asking bool
}

// offer keeps the one notification in line with what waits besides what is
// open. While a stream starts it holds still, to speak once for all.
func (l *loop) offer(why notify.Why) {
	if l.starting {
		return
	}
	waiting := l.waiting()
	switch held := l.held(); {
	case len(waiting) == 0, held == away:
		l.Notifier.Withdraw()
	case held == locked:
		l.Notifier.Offer(l.lockedNote(len(waiting)), why)
	default:
		l.Notifier.Offer(l.waitingNote(waiting), why)
	}
}

// waiting are the requests that a person may open now: oldest first, and after
// those the ones put off.
func (l *loop) waiting() []ipc.Request {
	var first, last []ipc.Request
	for _, r := range l.loud() {
		switch {
		case l.open[r.ID] != nil:
		case l.skipped[r.ID]:
			last = append(last, r)
		default:
			first = append(first, r)
		}
	}
	return slices.Concat(first, last)
}

// asking reports whether a prompt is on the screen. What is being decided, by
// the chip or the server or a finger, does not keep the next from being asked
// about.
func (l *loop) asking() bool {
	for _, o := range l.open {
		if o.asking {
			return true
		}
	}
	return false
}

// openNext asks about the next request, unless a prompt is already open or
// nobody is there to see one.
func (l *loop) openNext(ctx context.Context) {
	if l.held() != free {
		l.offer(notify.Remains)
		return
	}
	waiting := l.waiting()
	if l.asking() || len(waiting) == 0 {
		return
	}
	r := waiting[0]
	if l.skipped[r.ID] {
		clear(l.skipped) // all were put off, so they begin anew
	}
	asking, dismiss := context.WithCancel(ctx)
	l.open[r.ID] = &opened{request: r, dismiss: dismiss, asking: true}
	l.offer(notify.Changed)
	go func() { l.done <- l.attend(ctx, asking, r.ID) }()
}

// turned takes in that a prompt has left the screen for its answer to be
// decided, or is back.
func (l *loop) turned(p phase) {
	l.open[p.id].asking = p.asking
	if !p.asking {
		l.offer(notify.Remains)
	}
}

// finish handles the end of a prompt. A request without an answer is offered
// again, not opened.
func (l *loop) finish(o outcome) {
	open := l.open[o.id]
	delete(l.open, o.id)
	open.dismiss()
	switch {
	case o.decided:
		l.decided(open, o)
	case open.result != nil:
		l.tell(l.ended(open.request, open.result.Status))
	case o.err != nil:
		l.Log.Error("the request could not be asked about", "request", o.id, "error", o.err)
		l.tell(l.failedNote(open.request, o.err))
	case !open.taken && l.index(o.id) >= 0:
		l.skipped[o.id] = true
	}
	if o.decided && o.err == nil {
		l.offer(notify.Changed) // what remains was offered when it was answered
	} else {
		l.offer(notify.Remains)
	}
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
		l.tell(l.refusedNote(open.request, o.err))
		if !unclear(o.err) {
			return
		}
	} else {
		if i := l.index(o.result.ID); i >= 0 {
			l.pending = slices.Delete(l.pending, i, i+1)
		}
		l.tell(l.sent(client, o.result))
		if o.result.Confirmed {
			return
		}
	}
	l.unconfirmed[open.request.ID] = client
}

package session

import (
	"countersign/session/logind"
	"countersign/session/notify"
)

// hold is why nobody is prompted, whatever waits.
type hold int

const (
	// free: somebody may be there.
	free hold = iota
	// locked: the screen is. That something waits may be said, and no more.
	locked
	// away: this session is not the one in front, or it is shown to somebody at
	// another machine, or it is not known yet.
	away
)

func (l *loop) held() hold {
	s := l.seat
	switch {
	case !l.seated:
		return away
	case !s.Known:
		return free
	case s.Asleep:
		return away
	case s.Session == "":
		// A terminal that outlives its session still has its person.
		if l.Remote {
			return free
		}
		return away
	case !s.Active, s.Remote && !l.Remote:
		return away
	case s.Locked:
		return locked
	}
	return free
}

// maxLater is how many messages wait for somebody to be there; the oldest go.
const maxLater = 8

// tell shows a message, when somebody is there to see it.
func (l *loop) tell(n notify.Note) {
	if l.held() == free {
		l.Notifier.Tell(n)
		return
	}
	l.later = append(l.later, n)
	l.later = l.later[max(0, len(l.later)-maxLater):]
}

// tellNow shows a message that means nothing later.
func (l *loop) tellNow(n notify.Note) {
	if l.held() == free {
		l.Notifier.Tell(n)
	}
}

// sit takes in how the login session stands now. Where nobody can be asked any
// more the prompt is taken away, without an answer; where somebody can again
// all that waits is offered again.
func (l *loop) sit(s logind.State) {
	was, first := l.held(), !l.seated
	l.seat, l.seated = s, true
	now := l.held()
	if first || now != was {
		l.Log.Info("the login session", "known", s.Known, "id", s.Session, "active", s.Active,
			"remote", s.Remote, "locked", s.Locked, "asleep", s.Asleep, "prompting", now == free)
	}
	l.able.set(now == free)
	if now != was {
		l.lead()
	}
	switch now {
	case was:
	case free:
		l.resume()
	default:
		l.takeAway()
		l.offer(notify.Changed)
	}
}

func (l *loop) resume() {
	for _, n := range l.later {
		l.Notifier.Tell(n)
	}
	l.later = nil
	l.offer(notify.Arrived)
}

// takeAway ends all asking, also that which waits for its turn. What is being
// decided goes on.
func (l *loop) takeAway() {
	for _, o := range l.open {
		o.taken = true
		o.dismiss()
	}
}

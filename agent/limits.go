package agent

import (
	"slices"
	"sync"
	"time"

	"countersign/ipc"
	"countersign/protocol"
)

// How often each user may do in a minute what costs somebody else: room in the
// chip, tries at the server, lines on the disk. Links come from whoever gets a
// desktop to open them, and so must not use up the codes that a person types.
const (
	attemptsPerMinute  = 6
	codesPerMinute     = 10
	linksPerMinute     = 5
	incidentsPerMinute = 10
	mutesPerMinute     = 10
	lockedPerMinute    = 10
)

// limits are those.
type limits struct{ attempts, codes, links, incidents, mutes, locked *perMinute }

func newLimits() limits {
	return limits{
		attempts: &perMinute{most: attemptsPerMinute}, codes: &perMinute{most: codesPerMinute},
		links: &perMinute{most: linksPerMinute}, incidents: &perMinute{most: incidentsPerMinute}, mutes: &perMinute{most: mutesPerMinute},
		locked: &perMinute{most: lockedPerMinute},
	}
}

// perMinute lets each user do a thing so often in a minute, by CLOCK_BOOTTIME.
type perMinute struct {
	most int

	mu     sync.Mutex
	recent map[uint32][]time.Duration
}

// admit counts another time, unless there were too many.
func (l *perMinute) admit(uid uint32, now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := slices.DeleteFunc(l.recent[uid], func(at time.Duration) bool { return at <= now-time.Minute })
	ok := len(recent) < l.most
	if ok {
		recent = append(recent, now)
	}
	if l.recent == nil {
		l.recent = map[uint32][]time.Duration{}
	}
	l.recent[uid] = recent
	return ok
}

// forgive takes the last time back.
func (l *perMinute) forgive(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if list := l.recent[uid]; len(list) > 0 {
		l.recent[uid] = list[:len(list)-1]
	}
}

// admitCode counts another code of a user's, which came from origin.
func (l limits) admitCode(uid uint32, origin string, now time.Duration) error {
	if origin == protocol.OriginLink && !l.links.admit(uid, now) || !l.codes.admit(uid, now) {
		return ipc.Errorf(ipc.CodeRateLimited, "wait a minute, and try again", "too many codes of yours were tried within a minute")
	}
	return nil
}

// maxUnfinished is how many enrollments of a user may be under way: a chip has
// little room, and each takes some before anybody knows whether it comes to
// anything.
const maxUnfinished = 4

// maxProfiles and maxAllProfiles are how many enrollments a user may have, and all
// users of the computer together: each takes room in the chip, and memory for good.
// What is over counts until its keys are deleted.
const (
	maxProfiles    = 16
	maxAllProfiles = 256
)

// admitProfile keeps a program of a user from filling the chip with enrollments that
// came to something, at a server of its own.
func (a *Agent) admitProfile(uid uint32) error {
	all, own := 0, 0
	for _, p := range a.all() {
		all++
		if p.get().UID == uid {
			own++
		}
	}
	switch {
	case own >= maxProfiles:
		return ipc.Errorf(ipc.CodeTooManyProfiles, "end one that you do not need: countersign profiles, and countersign unenroll PROFILE", "you have %d enrollments on this computer, and may have %d", own, maxProfiles)
	case all >= maxAllProfiles:
		return ipc.Errorf(ipc.CodeTooManyProfiles, "ask the administrator of this computer", "this computer has room for %d enrollments", maxAllProfiles)
	}
	return nil
}

// admitAttempt keeps a program of a user from filling the chip.
func (a *Agent) admitAttempt(uid uint32) error {
	if err := a.admitProfile(uid); err != nil {
		return err
	}
	unfinished, err := a.cfg.State.Enrollments()
	if err != nil {
		a.cfg.Log.Error("some unfinished enrollments cannot be read", "error", err)
	}
	n := 0
	for _, e := range unfinished {
		if e.UID == uid {
			n++
		}
	}
	if n >= maxUnfinished || !a.limits.attempts.admit(uid, BootTime()) {
		return ipc.Errorf(ipc.CodeTooManyEnrolling, "wait a minute, and try again", "too many enrollments of yours came to nothing or are unfinished")
	}
	return nil
}

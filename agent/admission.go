package agent

import (
	"slices"

	"countersign/protocol"
)

// Bounds of the list: what may wait of one relying party at one profile, of one
// profile and of one user, so that nobody's requests bury the others'.
const (
	maxOfClient  = 20
	maxOfProfile = 50
	maxOfUser    = 100
)

// What came of adding a request.
type admission int

const (
	known admission = iota
	added
	// crowded: there are as many as may wait already.
	crowded
)

// add takes in a verified request, once.
func (l *pending) add(it *item) admission {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.find(it.profile, it.req.ID); old != nil {
		if old.deadline == 0 && old.compact == it.compact {
			old.deadline = it.deadline
		}
		return known
	}
	if l.full(it) {
		return crowded
	}
	it.status = statusPending
	l.items = append(l.items, it)
	l.announce(it)
	l.prune()
	l.wake()
	return added
}

// full reports whether there is no room for another request. It expects l.mu
// held.
func (l *pending) full(it *item) bool {
	var client, profile, user int
	for _, o := range l.items {
		if o.status != statusPending || o.uid != it.uid {
			continue
		}
		user++
		if o.profile == it.profile {
			profile++
			if o.req.Client.ID == it.req.Client.ID {
				client++
			}
		}
	}
	return client >= maxOfClient || profile >= maxOfProfile || user >= maxOfUser
}

// announceAll tells a user's helpers anew of what waits, whose quiet has changed.
func (l *pending) announceAll(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range l.items {
		if it.uid == uid && l.waits(it) {
			l.announce(it)
		}
	}
}

// drop ends what a relying party has waiting at a profile. Nobody ignored it.
func (l *pending) drop(profile, client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range l.items {
		if it.profile == profile && it.req.Client.ID == client && it.status == statusPending && it.claim == 0 {
			it.prompted = false
			l.close(it, protocol.StateCancelled)
		}
	}
}

// clear ends what waits at a profile, as nothing that anybody ignored. With
// forget it is as if it had never come, so that it comes again when the server
// lists it again.
func (l *pending) clear(profile string, forget bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := map[*item]bool{}
	for _, it := range l.items {
		if it.profile != profile || it.status != statusPending {
			continue
		}
		it.prompted = false
		if it.claim != 0 {
			it.ended = protocol.StateCancelled
			if it.stop != nil {
				it.stop()
			}
			continue
		}
		l.close(it, protocol.StateCancelled)
		gone[it] = forget
	}
	l.items = slices.DeleteFunc(l.items, func(it *item) bool { return gone[it] })
}

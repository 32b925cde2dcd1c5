package agent

import (
	"slices"
	"sync"
	"time"

	"countersign/ipc"
	"countersign/protocol"
)

// How many codes of a user's are redeemed in a minute. Links come from whoever
// gets a desktop to open them, so they must not use up what the server lets a
// person try.
const (
	codesPerMinute = 10
	linksPerMinute = 5
)

// codes are the redemptions of the last minute, by user. The zero value is
// ready.
type codes struct {
	mu     sync.Mutex
	recent map[uint32][]codeTry
}

type codeTry struct {
	at   time.Time
	link bool
}

// admit counts another redemption, unless there were too many.
func (c *codes) admit(uid uint32, origin string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent := slices.DeleteFunc(c.recent[uid], func(t codeTry) bool { return now.Sub(t.at) >= time.Minute })
	links := 0
	for _, t := range recent {
		if t.link {
			links++
		}
	}
	link := origin == protocol.OriginLink
	ok := len(recent) < codesPerMinute && (!link || links < linksPerMinute)
	if ok {
		recent = append(recent, codeTry{now, link})
	}
	if c.recent == nil {
		c.recent = map[uint32][]codeTry{}
	}
	c.recent[uid] = recent
	if !ok {
		return ipc.Errorf(ipc.CodeRateLimited, "wait a minute, and try again", "too many codes of yours were tried within a minute")
	}
	return nil
}

package agent

import (
	"sync/atomic"

	"countersign/protocol"
)

// keySlot is one of a profile's two keys. A new key may take the place of the
// current one at any time.
type keySlot struct {
	role    protocol.Role
	current atomic.Pointer[lazyKey]
	// changing says that a renewal is under way; renewed has the one whose old
	// key is not given back yet.
	changing atomic.Bool
	renewed  chan *renewal
}

func newKeySlot(role protocol.Role, key *lazyKey) *keySlot {
	s := &keySlot{role: role, renewed: make(chan *renewal, 1)}
	s.current.Store(key)
	return s
}

func (p *profile) slots() []*keySlot { return []*keySlot{p.deviceSlot, p.approvalSlot} }

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
	// changing says that a renewal is under way, settling that it has come as far
	// as to give the old key back; renewed has that one.
	changing, settling atomic.Bool
	renewed            chan *renewal
}

func newKeySlot(role protocol.Role, key *lazyKey) *keySlot {
	s := &keySlot{role: role, renewed: make(chan *renewal, 1)}
	s.current.Store(key)
	return s
}

// hand gives a renewal to whoever settles it.
func (s *keySlot) hand(r *renewal) {
	s.settling.Store(true)
	s.renewed <- r
}

// done is the end of a renewal.
func (s *keySlot) done() {
	s.settling.Store(false)
	s.changing.Store(false)
}

func (p *profile) slots() []*keySlot { return []*keySlot{p.deviceSlot, p.approvalSlot} }

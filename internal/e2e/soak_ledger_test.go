package e2e

import (
	"fmt"
	"slices"
	"sync"

	"countersign/ipc"
)

// soakLedger is what callers were told, which service and server must keep
// however they are killed:
//
//   - what was decided and reported, confirmed or not, is what it becomes;
//   - no wrong number counts twice: one is typed at most, and three would end
//     the transaction;
//   - the end of a transaction never changes, is the same at device and server,
//     and has evidence that verifies.
type soakLedger struct {
	mu     sync.Mutex
	deals  map[string]*deal
	ends   []*deal // the last that ended, oldest first
	counts map[string]int
}

// deal is one transaction as its relying party and the persons know it.
type deal struct {
	id, number string
	portal     *portal

	mu       sync.Mutex
	promised string // the status that a caller was told it would have
	mistyped bool
	final    string
	receipt  string
}

func newSoakLedger() *soakLedger {
	return &soakLedger{deals: map[string]*deal{}, counts: map[string]int{}}
}

func (l *soakLedger) began(t transaction) *deal {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &deal{id: t.ID, number: t.Number}
	l.deals[d.id] = d
	return d
}

func (l *soakLedger) find(id string) *deal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deals[id]
}

// archive keeps the deal among those that are looked at again.
func (l *soakLedger) archive(p *portal, d *deal) {
	const most = 20
	l.mu.Lock()
	defer l.mu.Unlock()
	d.portal = p
	l.counts[d.status()]++
	l.ends = append(l.ends, d)
	l.ends = l.ends[max(0, len(l.ends)-most):]
}

func (l *soakLedger) ended() []*deal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ends)
}

// open lists what has not ended.
func (l *soakLedger) open() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, d := range l.deals {
		if !d.over() {
			ids = append(ids, id)
		}
	}
	return ids
}

// told notes what a caller was told of its decision.
func (d *deal) told(r ipc.Result) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	status := map[string]string{ipc.Approve: "approved", ipc.Deny: "denied"}[r.Decision]
	if r.Confirmed && r.Status != status || !r.Confirmed && r.Status != "unconfirmed" {
		return fmt.Errorf("%s: told %s with confirmed %t after %s", d.id, r.Status, r.Confirmed, r.Decision)
	}
	if d.promised != "" {
		return fmt.Errorf("%s: decided twice: told %s, and then %s", d.id, d.promised, status)
	}
	d.promised = status
	return d.kept()
}

// end notes the end, as the server says it.
func (d *deal) end(status, receipt string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.final != "" && (d.final != status || d.receipt != receipt) {
		return fmt.Errorf("%s: it was %s, and is %s, or has another receipt", d.id, d.final, status)
	}
	d.final, d.receipt = status, receipt
	return d.kept()
}

// kept expects d.mu held.
func (d *deal) kept() error {
	if d.promised != "" && d.final != "" && d.promised != d.final {
		return fmt.Errorf("%s: somebody was told %s, and it is %s", d.id, d.promised, d.final)
	}
	return nil
}

func (d *deal) over() bool { return d.status() != "" }

func (d *deal) status() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.final
}

// mistype allows one wrong number.
func (d *deal) mistype() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := !d.mistyped
	d.mistyped = true
	return first
}

package state

import (
	"fmt"
	"path/filepath"
	"time"
)

// Entry is one decision in a profile's outbox: from the moment it is signed
// until long after the server has acknowledged it, since it is also the
// history and the chain.
type Entry struct {
	// Seq counts a profile's decisions from 1, without gaps at the end.
	Seq uint64 `json:"seq"`
	// ID is the transaction's, Request and Decision are compact JWS.
	ID       string `json:"id"`
	Request  string `json:"request"`
	Decision string `json:"decision"`
	// Verb and Reason repeat what the decision says.
	Verb   string `json:"verb"`
	Reason string `json:"reason,omitempty"`
	// ReceivedAt and DecidedAt are wall clock, for people.
	ReceivedAt time.Time `json:"received_at"`
	DecidedAt  time.Time `json:"decided_at"`
	// State is one of the states below.
	State string `json:"state"`
	// Receipt is the server's, once State is Delivered.
	Receipt string `json:"receipt,omitempty"`
	// Status is the transaction's status as the server gave it with its
	// answer, Code its problem code where it refused.
	Status string `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	// TriesLeft goes with the code wrong_number.
	TriesLeft int `json:"tries_left,omitempty"`
}

// States of an Entry.
const (
	// Queued: the server has not answered yet.
	Queued = "queued"
	// Delivered: the server's receipt is verified and stored.
	Delivered = "delivered"
	// Refused: the server has answered, and not with a receipt.
	Refused = "refused"
)

func entryFile(seq uint64) string { return fmt.Sprintf("%012d.json", seq) }

// SaveEntry writes an entry of a profile's outbox, new or changed.
func (d *Dir) SaveEntry(profile string, e Entry) error {
	if err := writeJSON(filepath.Join(d.root, profilesDir, profile, outboxDir, entryFile(e.Seq)), e); err != nil {
		return fmt.Errorf("state: save decision: %w", err)
	}
	return nil
}

// Entries reads a profile's outbox, oldest first.
func (d *Dir) Entries(profile string) ([]Entry, error) {
	names, err := d.names(profilesDir, profile, outboxDir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(names))
	for i, name := range names {
		if err := readJSON(filepath.Join(d.root, profilesDir, profile, outboxDir, name), &entries[i]); err != nil {
			return nil, fmt.Errorf("state: decision %s: %w", name, err)
		}
		if entryFile(entries[i].Seq) != name {
			return nil, fmt.Errorf("state: decision %s holds number %d", name, entries[i].Seq)
		}
	}
	return entries, nil
}

// RemoveEntry forgets an old entry.
func (d *Dir) RemoveEntry(profile string, seq uint64) error {
	if err := removeFile(filepath.Join(d.root, profilesDir, profile, outboxDir, entryFile(seq))); err != nil {
		return fmt.Errorf("state: remove decision: %w", err)
	}
	return nil
}

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Mood is how one user stands towards being asked. Times are CLOCK_BOOTTIME of
// the boot that is named with them.
type Mood struct {
	// Strikes are when requests were denied or left without an answer.
	Strikes []time.Duration `json:"strikes,omitempty"`
	// Silent is when the silence after too many of those ends, Muted when the
	// one that the user asked for does; 0 where there is none.
	Silent time.Duration `json:"silent,omitempty"`
	Muted  time.Duration `json:"muted,omitempty"`
	// Cautious says that the next approval takes the PIN.
	Cautious bool `json:"cautious,omitempty"`
}

// Attention is every user's mood, as it was at a time.
type Attention struct {
	BootID string           `json:"boot_id"`
	At     time.Duration    `json:"at"`
	Users  map[uint32]*Mood `json:"users"`
}

const attentionFile = "attention.json"

// SaveAttention replaces what is stored.
func (d *Dir) SaveAttention(a Attention) error {
	if err := writeJSON(filepath.Join(d.root, attentionFile), a); err != nil {
		return fmt.Errorf("state: save attention: %w", err)
	}
	return nil
}

// Attention reads what is stored; nothing where there is nothing.
func (d *Dir) Attention() (a Attention, err error) {
	err = readJSON(filepath.Join(d.root, attentionFile), &a)
	if errors.Is(err, os.ErrNotExist) {
		return Attention{}, nil
	}
	if err != nil {
		return Attention{}, fmt.Errorf("state: attention: %w", err)
	}
	return a, nil
}

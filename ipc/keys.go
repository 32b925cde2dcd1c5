package ipc

import (
	"time"

	"countersign/internal/secret"
)

// Roles of a StoredKey.
const (
	RoleDevice   = "device"
	RoleApproval = "approval"
	// RoleLeftover is what a broken enrollment left in a chip.
	RoleLeftover = "leftover"
)

// States of a StoredKey.
const (
	KeyOK          = "ok"
	KeyLocked      = "locked"
	KeyForeign     = "foreign"
	KeyUnavailable = "unavailable"
	// KeyLeftover is removed by itself, unless Detail says that it takes a
	// person.
	KeyLeftover = "leftover"
)

// StoredKey is one key in a chip, or what is left of one, as GET /v1/keys lists
// them.
type StoredKey struct {
	// Owner is the profile's id, or the leftover's own.
	Owner string `json:"owner"`
	// Account is user@host; "" for a leftover.
	Account  string `json:"account,omitempty"`
	Role     string `json:"role"`
	Provider string `json:"provider"`
	// Place is where in the chip it is, "" where nobody can tell now.
	Place      string `json:"place,omitempty"`
	Protection string `json:"protection,omitempty"`
	// TriesLeft is how many PINs the chip will still look at, where it tells.
	TriesLeft   *int       `json:"tries_left,omitempty"`
	LockedUntil *time.Time `json:"locked_until,omitempty"`
	State       string     `json:"state"`
	// Detail says why the state is not ok.
	Detail string `json:"detail,omitempty"`
}

// KeyDeletion asks to remove the keys of a profile that is over, or a leftover,
// POST /v1/keys/{owner}/deletion. Most chips need neither secret.
type KeyDeletion struct{ PIN, Admin secret.Value }

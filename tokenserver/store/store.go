// Package store is the port to the Token Server's database.
//
// Everything the server promises about final states rests on it: an Update is
// atomic and durable when it returns, Updates happen one after another, and a
// state changes by compare-and-set alone. What a method was asked to change
// and found in another state it refuses with ErrConflict, changing nothing.
//
// Secrets arrive here hashed. The numbers of transactions do not: the server
// must compare them.
package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
)

// What callers branch on.
var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict says that the row exists already, or has left the state that
	// the change was to start from.
	ErrConflict = errors.New("store: conflict")
	// ErrStorage says that the disk takes nothing: it is full, read-only or
	// failing. Nothing was changed.
	ErrStorage = errors.New("store: the disk takes nothing")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Store runs functions in transactions. It is safe for concurrent use.
type Store interface {
	// View runs fn over one unchanging state of the database. A change that fn
	// tries fails.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn alone, and keeps all of its changes durably or, where fn
	// or the commit fails, none. Fn must not wait for anything and must not
	// use the Store: everybody else waits for it. A ctx that ends while fn
	// runs is not noticed, so an error of ctx means that nothing was changed.
	Update(ctx context.Context, fn func(Tx) error) error
	// Changes returns a number that becomes another one whenever some other
	// Store, as of another process, has changed the database.
	Changes(ctx context.Context) (int64, error)
	Close() error
}

// Tx is what a function in a transaction can do. It must not outlive it.
type Tx interface {
	Users
	Clients
	Types
	Tokens
	Devices
	Attestations
	Renewals
	Transactions
	Offers
	Requests
	Decisions
	Chain
	Blocks
	Machines
	Events
}

// NewID makes an identifier that no other has.
func NewID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// HashSecret is how secrets arrive here. They are 128 random bits, so nothing slower
// is needed.
func HashSecret(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// One is the only row that a query found; ErrNotFound where there is none and
// ErrConflict where there are several.
func One[T any](rows []T, err error) (T, error) {
	var zero T
	switch {
	case err != nil:
		return zero, err
	case len(rows) == 0:
		return zero, ErrNotFound
	case len(rows) > 1:
		return zero, ErrConflict
	}
	return rows[0], nil
}

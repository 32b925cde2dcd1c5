package store

import (
	"time"

	"countersign/protocol"
)

// Transaction is what a relying party started.
type Transaction struct {
	ID         string
	ClientID   string
	ClientName string
	User       string
	Type       string
	Method     string
	Class      protocol.Class
	// Number is what a person must type to approve, or "" for class C0.
	Number string
	State  protocol.State
	Reason string
	// Tries counts the wrong numbers.
	Tries     int
	CreatedAt time.Time
	ExpiresAt time.Time
	// DecidedAt is when State became final. DecidedBy and Decision name the
	// device and the hash of the decision that made it so, where one did.
	DecidedAt time.Time
	DecidedBy string
	Decision  string
}

// Outcome is how a transaction ends.
type Outcome struct {
	State    protocol.State
	Reason   string
	At       time.Time
	Device   string
	Decision string
}

// Transactions are the transactions.
type Transactions interface {
	// AddTransaction stores a transaction with the request of each device.
	AddTransaction(t Transaction, requests []Request) error
	Transaction(id string) (Transaction, error)
	// Finish makes a pending transaction final; else ErrConflict.
	Finish(id string, o Outcome) error
	// UseTry counts a wrong number of a pending transaction that has had fewer
	// than limit, and returns the new count; else ErrConflict.
	UseTry(id string, limit int) (int, error)
	// Overdue returns the ids of at most limit pending transactions whose time
	// is over.
	Overdue(now time.Time, limit int) ([]string, error)
}

// Request is one device's approval request, byte for byte as it is sent.
type Request struct {
	Transaction string
	Device      string
	Compact     string
}

// Requests are the approval requests.
type Requests interface {
	// Pending returns the requests to a user's device whose transactions are
	// pending and not over, oldest first, but for those of relying parties that
	// may not ask it.
	Pending(user, device string, now time.Time) ([]Request, error)
	Request(transaction, device string) (Request, error)
	// Addressed returns the devices that a transaction asks.
	Addressed(transaction string) ([]string, error)
}

// Decision is what a device sent, with the answer it got and always gets.
type Decision struct {
	// Hash is protocol.Hash of Compact.
	Hash        string
	Device      string
	Transaction string
	// Key is the thumbprint of the key that signed.
	Key     string
	Compact string
	// Prev is the hash of the device's previous decision, as it says.
	Prev    string
	Status  int
	Answer  []byte
	Receipt string
	At      time.Time
}

// Decisions are the decisions that changed something.
type Decisions interface {
	AddDecision(d Decision) error
	Decision(device, hash string) (Decision, error)
}

package store

import "time"

// Event is a line of the audit trail. Members that do not apply are empty.
type Event struct {
	ID          int64
	At          time.Time
	Kind        string
	User        string
	Device      string
	Client      string
	Transaction string
	Machine     string
	// Detail is a stable word, such as a state or a reason.
	Detail string
}

// Events are the audit trail.
type Events interface {
	// AddEvent appends; the ID is the store's to give.
	AddEvent(e Event) error
	// Events returns the last limit events after an id, oldest first.
	Events(after int64, limit int) ([]Event, error)
}

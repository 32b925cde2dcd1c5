package store

import "time"

// User is a person who approves. A locked one can neither be asked nor answer.
type User struct {
	Name      string
	Locked    bool
	CreatedAt time.Time
}

// Users are the people.
type Users interface {
	// AddUser returns ErrConflict where the name is taken.
	AddUser(u User) error
	User(name string) (User, error)
	// Users returns all, by name.
	Users() ([]User, error)
	SetLocked(name string, locked bool) error
}

// Client is a relying party.
type Client struct {
	ID   string
	Name string
	// SecretHash is the SHA-256 of a secret of at least 128 random bits.
	SecretHash []byte
	CreatedAt  time.Time
}

// Clients are the relying parties.
type Clients interface {
	// AddClient returns ErrConflict where the id or the name is taken.
	AddClient(c Client) error
	Client(id string) (Client, error)
	// Clients returns all, by name.
	Clients() ([]Client, error)
}

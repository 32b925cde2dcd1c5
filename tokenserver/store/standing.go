package store

import "time"

// Chain is the order in which each device says that it made its decisions:
// those that changed something, and those that were well signed and refused.
type Chain interface {
	// Link puts a decision behind its prev. It returns ErrConflict where another
	// decision of the device stands there already. The same one may come again.
	Link(device, prev, hash string, at time.Time) error
	// Linked reports whether a decision is in the device's chain.
	Linked(device, hash string) (bool, error)
}

// Block keeps a relying party from asking a device.
type Block struct {
	Device string
	Client string
	// User is the device's, and ClientName the client's, as of now.
	User, ClientName string
	At               time.Time
}

// BlockFilter selects blocks that fit all of its members that are not zero.
type BlockFilter struct{ Device, Client, User string }

// Blocks are what people wanted no more of.
type Blocks interface {
	// AddBlock does nothing where there is one already.
	AddBlock(b Block) error
	// RemoveBlock reports whether there was one.
	RemoveBlock(device, client string) (bool, error)
	// Blocks returns what fits, oldest first.
	Blocks(f BlockFilter) ([]Block, error)
}

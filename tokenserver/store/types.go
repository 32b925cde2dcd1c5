package store

import (
	"time"

	"countersign/protocol"
)

// What a Type can require of the key that approves.
const (
	RequireAttested   = "attested"
	RequirePINBound   = "pin-bound"
	RequireTouchBound = "touch-bound"
)

// Type is a transaction type: what relying parties start by its name.
type Type struct {
	Name   string
	Method string
	Class  protocol.Class
	// TTL is a transaction's lifetime, whole seconds.
	TTL time.Duration
	// Digits of the number to match; 0 exactly for class C0.
	Digits    int
	HighValue bool
	// Require holds the Require constants above.
	Require []string
	// MinFirmware is the least version of the chips of a vendor, DenyVendors
	// are those whose chips may not be used. Names of vendors are compared
	// without regard to case.
	MinFirmware map[string]string
	DenyVendors []string
}

// Types are the transaction types.
type Types interface {
	// PutType adds the type or replaces the one of that name.
	PutType(t Type) error
	Type(name string) (Type, error)
	// Types returns all, by name.
	Types() ([]Type, error)
}

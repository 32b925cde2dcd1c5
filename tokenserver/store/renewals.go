package store

import (
	"time"

	"countersign/protocol"
)

// RenewalState is where a renewal stands.
type RenewalState string

// The states. Nothing comes after the last two.
const (
	RenewalPending RenewalState = "pending"
	// RenewalIssued has both keys good.
	RenewalIssued RenewalState = "issued"
	// RenewalDone has the new key in the old one's place.
	RenewalDone RenewalState = "done"
	// RenewalDropped gave way to another one; its key is good for nothing.
	RenewalDropped RenewalState = "dropped"
)

// Renewal is a new key on its way to take the place of an old one in the same
// role, which Request names. None is ever forgotten: their keys must not come
// back, and decisions that either key signed are still to be proved.
type Renewal struct {
	ID     string
	Device string
	State  RenewalState
	// Key and OldKey are thumbprints, OldChain the old key's certificates.
	Key, OldKey string
	OldChain    [][]byte
	// Request is the device's, byte for byte what it is judged by.
	Request   protocol.RenewalStart
	Challenge []byte
	// Credential and Secret are what the device was challenged with, where it
	// was.
	Credential *protocol.Credential
	Secret     []byte
	// What follows is empty until the renewal is issued.
	RenewalIssue
	CreatedAt time.Time
	// ChangedAt is when State became what it is.
	ChangedAt time.Time
}

// RenewalIssue is what a new key gets when it is found to be good.
type RenewalIssue struct {
	Verdict protocol.Verdict
	Proof   *protocol.ProofAttestation
	Chain   [][]byte
}

// RenewalFilter selects renewals that fit all of its members that are not zero.
type RenewalFilter struct {
	ID, Device string
	Role       protocol.Role
	// Key is the thumbprint of the new or of the old key.
	Key    string
	States []RenewalState
}

// Renewals are the changes of keys.
type Renewals interface {
	// AddRenewal returns ErrConflict where the id or the new key is known, also
	// as a key of the past, or where another renewal of the device in this role
	// is open.
	AddRenewal(r Renewal) error
	// Renewals returns what fits, oldest first.
	Renewals(f RenewalFilter) ([]Renewal, error)
	// IssueRenewal makes a pending renewal issued; else ErrConflict.
	IssueRenewal(id string, issue RenewalIssue, at time.Time) error
	// CompleteRenewal gives the device the new key of an issued renewal, with
	// all that belongs to it, in place of the old one; else ErrConflict.
	CompleteRenewal(id string, at time.Time) error
	// DropRenewal ends an open renewal for good; else ErrConflict.
	DropRenewal(id string, at time.Time) error
}

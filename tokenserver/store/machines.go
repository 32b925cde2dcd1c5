package store

import (
	"time"

	"countersign/protocol"
)

// MachineToken allows machines to enroll.
type MachineToken struct {
	ID string
	// Hash is the SHA-256 of the token.
	Hash []byte
	Note string
	// Uses is how many machines it enrolls, Used how many it has.
	Uses, Used int
	ExpiresAt  time.Time
	CreatedAt  time.Time
	// RevokedAt is zero while it is good.
	RevokedAt time.Time
}

// MachineState is where a machine stands.
type MachineState string

// The states.
const (
	MachineActive  MachineState = "active"
	MachineRevoked MachineState = "revoked"
)

// Machine is a computer by the endorsement key of its TPM.
type Machine struct {
	ID string
	// EK names its endorsement key, as protocol.EKName does. No other machine has
	// it.
	EK    string
	State MachineState
	// Reason says why it is revoked.
	Reason string
	Facts  protocol.MachineFacts
	// Endorsement is one of protocol's, Chip what the TPM proved of itself.
	Endorsement string
	Chip        protocol.Chip
	// Key is the thumbprint of its key, and Chain the certificate, DER, leaf first.
	Key   string
	Chain [][]byte
	// Token is the token that it enrolled with, or "".
	Token string
	// EnrolledAt is when it has got its present key, CreatedAt its first one.
	CreatedAt, EnrolledAt time.Time
	// SeenAt is when it last called, ReportedAt when it made Report; zero and nil
	// where it never did.
	SeenAt, ReportedAt time.Time
	Report             *protocol.MachineReport
	// TrustSeq is the number of the statement on the server's names and keys that
	// the machine says it keeps, and TrustAt when it first said so.
	TrustSeq int64
	TrustAt  time.Time
}

// MachineEnrollment is a machine that is to prove itself, or has.
type MachineEnrollment struct {
	ID string
	// Key is the thumbprint of its key, and of no other's.
	Key, EK string
	// Token is the token's id, or "".
	Token string
	// Start is what it sent, without the token.
	Start       protocol.MachineStart
	Endorsement string
	Challenge   []byte
	Credential  protocol.Credential
	Secret      []byte
	// Machine is the machine's id, and Proof what it proved, once it has.
	Machine   string
	Proof     *protocol.MachineActivation
	CreatedAt time.Time
}

// RegisteredEK is an endorsement key that the operator knows.
type RegisteredEK struct {
	EK string
	// Name is the operator's word for the machine, or "".
	Name      string
	CreatedAt time.Time
}

// MachineFilter selects machines that fit all of its members that are not zero.
type MachineFilter struct{ ID, EK, Key string }

// Machines are the computers of a fleet, and what lets them in.
type Machines interface {
	// AddMachineToken returns ErrConflict where the id or the token is known.
	AddMachineToken(t MachineToken) error
	MachineTokenOf(hash []byte) (MachineToken, error)
	MachineToken(id string) (MachineToken, error)
	// MachineTokens returns all, oldest first.
	MachineTokens() ([]MachineToken, error)
	// UseMachineToken counts another use of a token that has some left and is not
	// revoked; else ErrConflict.
	UseMachineToken(id string) error
	// RevokeMachineToken returns ErrConflict where it is revoked already.
	RevokeMachineToken(id string, at time.Time) error

	// RegisterEK adds an endorsement key, or gives it another name.
	RegisterEK(k RegisteredEK) error
	RegisteredEK(ek string) (RegisteredEK, error)
	// RegisteredEKs returns all, oldest first.
	RegisteredEKs() ([]RegisteredEK, error)
	// UnregisterEK returns ErrNotFound where it is not registered.
	UnregisterEK(ek string) error

	// AddMachineEnrollment returns ErrConflict where the id or the key is known, the
	// key also as a device's. It forgets others of this endorsement key that came to
	// nothing.
	AddMachineEnrollment(e MachineEnrollment) error
	MachineEnrollment(id string) (MachineEnrollment, error)
	// MachineEnrollmentOf finds one by its key.
	MachineEnrollmentOf(key string) (MachineEnrollment, error)
	// ProveMachineEnrollment adds the proof, once: then ErrConflict.
	ProveMachineEnrollment(id, machine string, proof protocol.MachineActivation) error
	// OpenMachineEnrollments counts those of a token that came to nothing yet.
	OpenMachineEnrollments(token string) (int, error)
	// DropMachineEnrollments forgets those that came to nothing and began before a
	// time.
	DropMachineEnrollments(before time.Time) error

	// PutMachine adds a machine, or replaces all there is of the one with its id.
	// It returns ErrConflict where another has its endorsement key or its key.
	PutMachine(m Machine) error
	// Machines returns what fits, oldest first.
	Machines(f MachineFilter) ([]Machine, error)
	// RevokeMachine returns ErrConflict where it is not active.
	RevokeMachine(id, reason string) error
	// SetMachineChain keeps a new certificate of a machine.
	SetMachineChain(id string, chain [][]byte) error
	// SetMachineTrust remembers which statement on the server a machine keeps, a newer
	// one than before; else ErrConflict.
	SetMachineTrust(id string, seq int64, at time.Time) error
	// SeeMachine remembers that a machine called, and its report where it is not
	// nil.
	SeeMachine(id string, at time.Time, report *protocol.MachineReport) error
}

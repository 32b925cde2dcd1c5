package store

import (
	"time"

	"countersign/protocol"
)

// Token allows one device to enroll for a user.
type Token struct {
	// Hash is the SHA-256 of the token.
	Hash      []byte
	User      string
	ExpiresAt time.Time
	// Confirm asks that a person confirms the new device's code.
	Confirm bool
	// Replaces is the device that goes when the new one becomes active, or "".
	Replaces string
	// UsedBy is the enrollment that took the token, or "".
	UsedBy    string
	CreatedAt time.Time
}

// Tokens are the enrollment tokens.
type Tokens interface {
	AddToken(t Token) error
	Token(hash []byte) (Token, error)
	// UseToken gives the token to an enrollment, once: then ErrConflict.
	UseToken(hash []byte, enrollment string) error
}

// DeviceState is where an enrollment stands.
type DeviceState string

// The states. A revoked device stays so.
const (
	DevicePending     DeviceState = "pending"
	DeviceUnconfirmed DeviceState = "unconfirmed"
	DeviceActive      DeviceState = "active"
	DeviceRevoked     DeviceState = "revoked"
)

// Why a device is suspended.
const (
	// SuspendedForked: two different decisions claim one place in its chain.
	SuspendedForked   = "forked_chain"
	SuspendedOperator = "operator"
)

// ReplacesAll in Device.Replaces means every other device of the user.
const ReplacesAll = "*"

// Device is one enrollment of one device for one user.
type Device struct {
	ID         string
	Enrollment string
	Profile    string
	User       string
	TokenHash  []byte
	State      DeviceState
	// Reason says why a revoked device is so.
	Reason string
	Facts  protocol.DeviceFacts
	// Verdict is that on the approval key, DeviceVerdict that on the device
	// key.
	Verdict       protocol.Verdict
	DeviceVerdict protocol.Verdict
	Challenge     []byte
	// The CSRs are DER, the chains DER with the leaf first, and empty while
	// the device is pending.
	DeviceCSR, ApprovalCSR     []byte
	DeviceChain, ApprovalChain [][]byte
	// The thumbprints of the two keys. No other device has either.
	DeviceKey, ApprovalKey string
	// Confirm and Replaces are the token's wish; Code is what to confirm.
	Confirm  bool
	Replaces string
	Code     string
	// Succeeds is the device whose key has named this one's at the enrollment,
	// or ""; Successor the one that took the place of this one when it was
	// revoked, or "".
	Succeeds, Successor string
	CreatedAt           time.Time
	// ChangedAt is when State became what it is.
	ChangedAt time.Time
	// Suspended is why the device is held off for now, or "". It goes with any
	// state.
	Suspended string
	// QuietUntil is how long the device asked to be left in peace, and
	// QuietReason why; requests are sent to it all the same.
	QuietUntil  time.Time
	QuietReason string
	// TrustSeq is the number of the statement on the server's names and keys that
	// the device keeps, and TrustAt when it said so first; 0 and the zero time
	// where it keeps none.
	TrustSeq int64
	TrustAt  time.Time
}

// VerdictOn is the verdict on one of the device's keys.
func (d Device) VerdictOn(role protocol.Role) protocol.Verdict {
	if role == protocol.RoleApproval {
		return d.Verdict
	}
	return d.DeviceVerdict
}

// KeyOf is the thumbprint of one of the device's keys.
func (d Device) KeyOf(role protocol.Role) string {
	if role == protocol.RoleApproval {
		return d.ApprovalKey
	}
	return d.DeviceKey
}

// ChainOf is the certificate chain of one of the device's keys.
func (d Device) ChainOf(role protocol.Role) [][]byte {
	if role == protocol.RoleApproval {
		return d.ApprovalChain
	}
	return d.DeviceChain
}

// QuietAt is when the device wants to be asked again, nil where it does now.
func (d Device) QuietAt(now time.Time) *time.Time {
	if !d.QuietUntil.After(now) {
		return nil
	}
	until := d.QuietUntil.UTC()
	return &until
}

// DeviceFilter selects devices that fit all of its members that are not zero.
type DeviceFilter struct {
	ID, Enrollment, User, Code string
	// Key is the thumbprint of either key.
	Key    string
	States []DeviceState
}

// DeviceIssue is what a pending device gets when it is let in.
type DeviceIssue struct {
	State                      DeviceState
	Verdict, DeviceVerdict     protocol.Verdict
	DeviceChain, ApprovalChain [][]byte
	At                         time.Time
}

// Devices are the enrollments.
type Devices interface {
	// AddDevice returns ErrConflict where an id or a key is known.
	AddDevice(d Device) error
	// Devices returns what fits, oldest first.
	Devices(f DeviceFilter) ([]Device, error)
	// IssueDevice lets a pending device in; ErrConflict where it is not
	// pending.
	IssueDevice(id string, issue DeviceIssue) error
	// SetDeviceState returns ErrConflict where the state is not from.
	SetDeviceState(id string, from, to DeviceState, reason string, at time.Time) error
	// SetSuccessor remembers which device took the place of a revoked one.
	SetSuccessor(id, successor string) error
	// SuspendDevice holds a device off for a reason, or lets it go on where the
	// reason is ""; ErrConflict where that is so already.
	SuspendDevice(id, reason string) error
	// SetQuiet remembers until when the device wants to be left in peace.
	SetQuiet(id string, until time.Time, reason string) error
	// SetTrust remembers that a device keeps a newer statement on the server's names
	// and keys; else ErrConflict.
	SetTrust(id string, seq int64, at time.Time) error
	// DropPending forgets a device that is still pending, and its attestation;
	// else ErrConflict.
	DropPending(id string) error
}

// Attestation is what a device proved its keys with, kept so that anybody can
// judge it again later. It names the chip for good, and so is for auditors only.
type Attestation struct {
	Device string
	Start  protocol.StartAttestation
	// Credential and Secret are what the device was challenged with, where it
	// was.
	Credential *protocol.Credential
	Secret     []byte
	// Proof is nil until the device is let in.
	Proof *protocol.ProofAttestation
}

// Attestations are the proofs of devices.
type Attestations interface {
	// AddAttestation returns ErrConflict where the device has one.
	AddAttestation(a Attestation) error
	Attestation(device string) (Attestation, error)
	// ProveAttestation adds the proof, once: then ErrConflict.
	ProveAttestation(device string, proof protocol.ProofAttestation) error
}

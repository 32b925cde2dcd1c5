// Package hsm is the port to hardware that makes and keeps private keys.
//
// A key made through this port is born inside a chip and never leaves it. What
// the caller stores is a reference: for a TPM the key wrapped by that very
// chip, for a token the slot. A stolen reference is useless without the chip,
// and an approval key's reference is useless without its PIN even with it.
// There is no software back end, and there will be none: where a machine has
// no TPM, the swtpm program is a TPM behind a socket.
//
// Every call may wait for hardware. It takes a context, gives up when the
// context ends, and holds no lock that another caller's context cannot break.
// Back ends are safe for concurrent use and pass the suite in hsm/hsmtest.
package hsm

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"countersign/internal/secret"
)

// Sentinels a caller may branch on with errors.Is.
var (
	// ErrUnavailable: the chip is absent, cannot be opened or does not answer.
	ErrUnavailable = errors.New("security chip not available")
	// ErrPermission: the chip is there and this process may not open it. It is
	// an ErrUnavailable too.
	ErrPermission = fmt.Errorf("%w: permission denied", ErrUnavailable)
	// ErrForeignKey: the reference belongs to another chip, or to this one
	// before it was cleared.
	ErrForeignKey = errors.New("key belongs to another or a cleared security chip")
	// ErrPINRequired: the key is bound to a PIN and none was given.
	ErrPINRequired = errors.New("PIN required")
	// ErrWrongPIN: the chip refused the PIN; errors.As to *PINError tells how
	// many tries are left.
	ErrWrongPIN = errors.New("wrong PIN")
	// ErrPINLocked: the chip refuses every PIN of this key, the right one too.
	ErrPINLocked = errors.New("PIN locked after too many wrong tries")
	// ErrBadReference: the reference is not one this back end wrote.
	ErrBadReference = errors.New("unreadable key reference")
)

// PINError is the chip's refusal of a PIN.
type PINError struct {
	// TriesLeft is how many more PINs the chip will look at, as the chip says;
	// 0 means the key is now locked, -1 that the chip does not tell (a TPM
	// tells its owner, so not once an owner password is set).
	TriesLeft int
}

func (e *PINError) Error() string {
	if e.TriesLeft < 0 {
		return "wrong PIN, unknown number of tries left"
	}
	return fmt.Sprintf("wrong PIN, %d tries left", e.TriesLeft)
}

// Is makes a PINError an ErrWrongPIN.
func (e *PINError) Is(target error) bool { return target == ErrWrongPIN }

// Limits of a PIN in bytes, for every back end; a token may allow less.
const (
	MinPIN = 6
	MaxPIN = 63
)

// Provider is one kind of chip.
type Provider interface {
	// Name is "tpm" or "piv", as users write it.
	Name() string
	// Create makes a P-256 signing key inside the chip. With a PIN every use
	// of the key needs it, checked by the chip and limited by the chip; with
	// the empty PIN none does. The key is durable only by its Reference: a
	// caller that fails to store it calls Delete.
	Create(ctx context.Context, pin secret.Value) (Key, error)
	// Open finds the key of a reference. It returns ErrForeignKey for another
	// chip's key and ErrBadReference for bytes it cannot read. It does not
	// check a PIN.
	Open(ctx context.Context, reference []byte) (Key, error)
	// Status says what the chip is and whether it can be used now; the error,
	// if any, is the one Create or Open would meet.
	Status(ctx context.Context) (Status, error)
}

// Key is a private key inside a chip.
type Key interface {
	// Public returns the *ecdsa.PublicKey.
	Public() crypto.PublicKey
	// Sign returns the ASN.1 DER ECDSA signature over a SHA-256 digest. It
	// spends one PIN try when, and only when, the PIN is wrong. No PIN outlives
	// the call.
	Sign(ctx context.Context, digest []byte, pin secret.Value) ([]byte, error)
	// Reference is what Open needs; it holds no secret in the clear.
	Reference() []byte
	// Delete removes from the chip whatever Create left there. Deleting twice
	// is no error. The caller forgets the reference.
	Delete(ctx context.Context) error
}

// Status describes a chip to its owner.
type Status struct {
	// Vendor, Model and Firmware are the chip's own words, possibly empty.
	Vendor, Model, Firmware string
	// Where is the device or socket, e.g. "device:/dev/tpmrm0".
	Where string
}

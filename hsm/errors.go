package hsm

import (
	"errors"
	"fmt"
	"time"
)

// Sentinels a caller may branch on with errors.Is.
var (
	// ErrUnavailable: the chip is absent, cannot be opened or does not answer.
	ErrUnavailable = errors.New("security chip not available")
	// ErrPermission: the chip is there and this process may not open it. It is
	// an ErrUnavailable too.
	ErrPermission = fmt.Errorf("%w: permission denied", ErrUnavailable)
	// ErrBusy: another program holds the chip. It is an ErrUnavailable too.
	ErrBusy = fmt.Errorf("%w: another program is using it", ErrUnavailable)
	// ErrNoMemory: the chip has no free slot for an object or a session. It is
	// an ErrUnavailable too.
	ErrNoMemory = fmt.Errorf("%w: out of memory", ErrUnavailable)
	// ErrReset: the chip was reset in the middle of the call. It is an
	// ErrUnavailable too; the next call finds it again.
	ErrReset = fmt.Errorf("%w: it was reset", ErrUnavailable)
	// ErrNoService: the service in front of the chip, such as pcscd, is not
	// running. It is an ErrUnavailable too.
	ErrNoService = fmt.Errorf("%w: its service is not running", ErrUnavailable)
	// ErrTokenAbsent: the token that holds the key is not inserted, or was
	// pulled in the middle. It is an ErrUnavailable too.
	ErrTokenAbsent = fmt.Errorf("%w: the token is not inserted", ErrUnavailable)
	// ErrManyTokens: several tokens are inserted, and the template names none;
	// the text names their serial numbers.
	ErrManyTokens = errors.New("several tokens are inserted")
	// ErrForeignKey: the reference belongs to another chip, or to this one
	// before it was cleared.
	ErrForeignKey = errors.New("key belongs to another or a cleared security chip")
	// ErrBadReference: the reference is not one this back end wrote.
	ErrBadReference = errors.New("unreadable key reference")

	// ErrPINRequired: the key is bound to a PIN and none was given.
	ErrPINRequired = errors.New("PIN required")
	// ErrBadPIN: what was given cannot be a PIN of this chip. No try was spent.
	ErrBadPIN = errors.New("not a PIN of this security chip")
	// ErrWrongPIN: the chip refused the PIN; errors.As to *PINError tells how
	// many tries are left.
	ErrWrongPIN = errors.New("wrong PIN")
	// ErrPINLocked: the chip refuses every PIN of this key, the right one too;
	// errors.As to *LockedError tells for how long.
	ErrPINLocked = errors.New("PIN locked after too many wrong tries")
	// ErrNoTouch: the token waited for its touch in vain.
	ErrNoTouch = errors.New("the token was not touched in time")

	// ErrAdminRequired: this takes the management key of the token, or the
	// owner password of the TPM, and none that fits was given.
	ErrAdminRequired = errors.New("management key or owner password required")
	// ErrFactorySettings: the token has a PIN, PUK or management key that
	// everybody knows; errors.As to *FactoryError tells which.
	ErrFactorySettings = errors.New("the token has factory settings")
	// ErrNoRoom: the chip has no room for another key.
	ErrNoRoom = errors.New("no room for another key")
	// ErrUnsupported: the chip cannot make such a key.
	ErrUnsupported = errors.New("not supported by this security chip")
	// ErrNoAttestation: the chip cannot prove where its keys live.
	ErrNoAttestation = errors.New("the security chip cannot attest its keys")
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

// LockedError is the chip's refusal of every PIN.
type LockedError struct {
	// Until is when the chip takes a PIN again; zero means never, for this key.
	Until time.Time
}

func (e *LockedError) Error() string {
	if e.Until.IsZero() {
		return ErrPINLocked.Error()
	}
	return ErrPINLocked.Error() + ", until " + e.Until.Format(time.RFC3339)
}

// Is makes a LockedError an ErrPINLocked.
func (e *LockedError) Is(target error) bool { return target == ErrPINLocked }

// FactoryError says what of a token everybody knows, and how to change it.
type FactoryError struct {
	// What is "PIN", "PUK" or "management key".
	What string
	// Command changes it.
	Command string
}

func (e *FactoryError) Error() string {
	return "the token still has the factory " + e.What + "; change it with: " + e.Command
}

// Is makes a FactoryError an ErrFactorySettings.
func (e *FactoryError) Is(target error) bool { return target == ErrFactorySettings }

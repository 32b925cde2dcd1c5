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
//
// What not every chip can do is an interface of its own, found by a type
// assertion: Attester, Endorser, Identifier and Reclaimer on a Provider, Inspector,
// PINChanger and CertificateKeeper on a Key.
package hsm

import (
	"context"
	"crypto"
	"time"

	"countersign/internal/secret"
)

// Limits of a PIN in bytes, for every back end; a token allows less.
const (
	MinPIN = 6
	MaxPIN = 63
)

// Provider is one kind of chip.
type Provider interface {
	// Name is "tpm" or "piv", as users write it.
	Name() string
	// Create makes a signing key inside the chip. The key is durable only by
	// its Reference: a caller that fails to store it calls Delete. Besides the
	// sentinels of use it returns ErrBadPIN, ErrUnsupported, ErrNoRoom,
	// ErrAdminRequired and ErrFactorySettings, leaving nothing behind.
	Create(ctx context.Context, t Template) (Key, error)
	// Open finds the key of a reference. It returns ErrForeignKey for another
	// chip's key and ErrBadReference for bytes it cannot read. It does not
	// check a PIN.
	Open(ctx context.Context, reference []byte) (Key, error)
	// Release removes what a Create that never came to an end left in the chip
	// under this reservation, and nothing else. Where nothing is left it does
	// nothing. A chip that lets nobody but a person do that returns
	// ErrPINRequired or ErrAdminRequired.
	Release(ctx context.Context, reservation []byte) error
	// Status says what the chip is and whether it can be used now; the error,
	// if any, is the one Create or Open would meet.
	Status(ctx context.Context) (Status, error)
}

// Key is a private key inside a chip.
type Key interface {
	// Public returns the *ecdsa.PublicKey or, for RS256, the *rsa.PublicKey.
	Public() crypto.PublicKey
	// Protection says what stands between the key and its use.
	Protection() Protection
	// Sign returns the signature over a SHA-256 digest: ASN.1 DER of ECDSA, or
	// RSASSA-PKCS1-v1_5. It spends one PIN try when, and only when, the PIN is
	// wrong. No PIN outlives the call.
	Sign(ctx context.Context, digest []byte, auth Auth) ([]byte, error)
	// Reference is what Open needs; it holds no secret in the clear.
	Reference() []byte
	// Delete removes from the chip whatever Create left there. Deleting twice
	// is no error. The caller forgets the reference.
	Delete(ctx context.Context, auth Auth) error
}

// Auth is what a person brings to the use of a key. The zero Auth is enough
// for a key that is not bound to a PIN.
type Auth struct {
	PIN secret.Value
	// Admin is the management key of a token, as bytes, for Create and Delete
	// where the token does not keep it under the PIN.
	Admin secret.Value
	// Touch, where not nil, is called once when the token has waited half a
	// second for its touch, so that somebody tells the person.
	Touch func()
}

// Algorithm is what a key signs with, as JOSE spells it (RFC 7518 3.1).
type Algorithm string

// The algorithms. The empty Algorithm means ES256.
const (
	ES256 Algorithm = "ES256" // ECDSA on P-256
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5 with 2048 bits
)

// Template is the key that Create makes.
type Template struct {
	// Auth is the person's: for a TPM its PIN becomes the key's, for a token it
	// is the token's and is checked.
	Auth
	// PINBound makes every use of the key take the PIN, checked by the chip and
	// limited by the chip.
	PINBound bool
	// Touch makes every use of the key take a touch; ErrUnsupported where the
	// chip has no sensor.
	Touch     bool
	Algorithm Algorithm
	// Token is the serial number of the token to use; "" for the only one.
	Token string
	// KeepAdmin is the person's consent to replace the management key of a
	// token by a random one that the token keeps under the PIN.
	KeepAdmin bool
	// Reserve, where not nil, is called before the chip holds anything that
	// would outlive a crash, with what Release takes. Create fails where it
	// fails.
	Reserve func(reservation []byte) error
}

// Protection is what stands between a key and its use.
type Protection struct {
	// Counter says who counts the wrong PINs; CounterNone without a PIN.
	Counter Counter
	// Touch says that every use takes a touch.
	Touch bool
}

// Counter is who counts wrong PINs.
type Counter string

// The counters.
const (
	CounterNone Counter = ""
	// CounterIndex is the key's own, in a TPM, and ends it at five.
	CounterIndex Counter = "index"
	// CounterLockout is the one that a whole TPM shares. Who administers the
	// TPM can reset it, so it is no limit that a server may rely on.
	CounterLockout Counter = "lockout"
	// CounterToken is the one that a whole token shares.
	CounterToken Counter = "token"
)

// Status describes a chip to its owner.
type Status struct {
	// Vendor, Model and Firmware are the chip's own words, possibly empty.
	Vendor, Model, Firmware string
	// Where is the device, socket or reader, e.g. "device:/dev/tpmrm0".
	Where string
	// Notes are what works less well than it could, one code and sentence each.
	Notes []Note
}

// Note is something about a chip that its owner should know, and that nothing
// fails for.
type Note struct {
	// Code is stable, e.g. "tpm_owner_password".
	Code string
	Text string
	Cure string
}

// Inspector is a Key that tells how it stands without being used.
type Inspector interface {
	Inspect(ctx context.Context) (Health, error)
}

// Health is how a key stands.
type Health struct {
	// Place is where in the chip the key is, for people, e.g.
	// "NV index 0x01812345" or "slot 82 of token 123".
	Place string
	// TriesLeft is how many PINs the chip will still look at; -1 where it does
	// not tell, and for a key without PIN.
	TriesLeft int
	// LockedUntil is when the chip takes a PIN again, where it has stopped for a
	// time; zero where it never will, or has not stopped.
	LockedUntil time.Time
}

// PINChanger is a Key whose PIN can be changed in place. Where a Key is none, a
// new PIN takes a new key.
type PINChanger interface {
	ChangePIN(ctx context.Context, old, fresh secret.Value) error
}

// Identifier is a Provider that knows its chip again after it was cleared.
type Identifier interface {
	// Identify names the chip itself, for as long as it is the same piece of
	// hardware: an opaque text without meaning outside this computer.
	Identify(ctx context.Context) (string, error)
}

// Reclaimer is a Provider whose Release takes a person.
type Reclaimer interface {
	// Reclaim does what Release does, with what the person brings.
	Reclaim(ctx context.Context, reservation []byte, auth Auth) error
}

// CertificateKeeper is a Key that has room for its certificate beside it, for
// other programs to find.
type CertificateKeeper interface {
	// StoreCertificate writes a DER certificate of this very key, in place of
	// the one that is there. Auth is what Create takes.
	StoreCertificate(ctx context.Context, der []byte, auth Auth) error
}

// Package tpm keeps keys in a TPM 2.0.
//
// What it protects: a private key made here is fixedTPM and fixedParent; it
// exists outside the chip only as a blob that this very chip can load. An
// approval key can be used only after the chip has checked a PIN against a
// PIN_FAIL index, which counts wrong PINs itself, in its own memory, and
// refuses every PIN after the fifth wrong one (TPM 2.0 Part 1, "NV PIN
// Indices"; docs/decisions/0001-layered-pin.md says why it is built this way).
// The chip-wide dictionary-attack counter is not moved, so nobody's typing locks
// out anybody else. Only where the chip has no such index, or only for an owner
// password that is not given, does that counter guard the PIN of a new key, and
// Protection and Status say so.
//
// What the wire sees: every session that carries a secret is salted to a
// storage root whose Name the key's reference pins, and secrets that travel as
// parameters are encrypted. PINs do not travel, nor anything that they could be
// guessed from.
//
// What it keeps in the chip: for as long as a connection lasts, the key used
// last, the two sessions of its PIN, which hold no PIN between calls, and a
// storage root where there is no persistent one. For good, one index to each key
// with a PIN, and one storage root.
//
// What the caller must do: keep the reference, call Close at the end, and give
// each call a context. A chip that is absent is no error at Open: each call
// tries again, so a service starts without its chip and recovers with it.
package tpm

import (
	"time"

	"countersign/hsm"
	"countersign/internal/secret"
)

// The limits a Provider starts with.
const (
	// DefaultTimeout bounds one operation once it has its turn at the chip, for
	// callers whose context has no deadline. Slow discrete chips need about a
	// second, and for an RSA key many. Status, Open and Inspect, which make
	// nothing, give up after two seconds.
	DefaultTimeout = 30 * time.Second
	// DefaultIdle is how long an unused connection is kept. It is short because
	// swtpm serves one client at a time.
	DefaultIdle = 2 * time.Second
	// quickTimeout bounds what makes nothing for a caller whose context has no
	// deadline, waiting for a turn included, so that whoever asks about a chip that
	// hangs has an answer within two seconds.
	quickTimeout = 1500 * time.Millisecond
)

// Provider is the TPM back end of hsm. It is safe for concurrent use: callers
// queue for the chip, each as long as its context allows.
type Provider struct {
	where string
	link  *link
}

var _ hsm.Provider = (*Provider)(nil)

// Option changes a Provider's limits.
type Option func(*Provider)

// WithTimeout replaces DefaultTimeout, and the two seconds of what makes nothing.
func WithTimeout(d time.Duration) Option {
	return func(p *Provider) { p.link.limit, p.link.quick = d, d }
}

// WithOwnerPassword gives what proves the TPM's owner. It is called when a
// command takes it and the TPM has one, possibly often; the Provider copies the
// value and wipes the copy, and nothing of it crosses the wire. Needed for a key
// with a PIN, for its removal, and to tell the tries left, and where an error or
// a wrong password comes the Provider does without, as Create says.
func WithOwnerPassword(password func() (secret.Value, error)) Option {
	return func(p *Provider) { p.link.password = password }
}

// WithIdle replaces DefaultIdle.
func WithIdle(d time.Duration) Option { return func(p *Provider) { p.link.idle = d } }

// Open prepares the use of the TPM that spec names: "device:PATH" for a
// character device with a resource manager, such as device:/dev/tpmrm0, or
// "swtpm:PATH" for the command socket of an swtpm that serves this program
// alone. Only a malformed spec is an error; whether the chip is there shows
// when it is used.
func Open(spec string, options ...Option) (*Provider, error) {
	target, err := parseSpec(spec)
	if err != nil {
		return nil, err
	}
	p := &Provider{where: spec, link: newLink(target)}
	for _, o := range options {
		o(p)
	}
	return p, nil
}

// Name implements hsm.Provider.
func (*Provider) Name() string { return "tpm" }

// Close flushes what this Provider keeps in the chip and hangs up. Every later
// use fails with hsm.ErrUnavailable. Closing twice is no error.
func (p *Provider) Close() error { return p.link.close() }

package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"countersign/hsm"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
)

// persistentRoot is where provisioning tools keep a storage root (TCG TPM 2.0
// Provisioning Guidance, 7.8).
const persistentRoot tpm2.TPMHandle = 0x81000001

// root is a storage root key: parent of our keys and salt key of our sessions.
type root struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// file is the handle by which a key file names this root as a parent.
func (r *root) file() tpm2.TPMHandle {
	if r.handle == persistentRoot {
		return persistentRoot
	}
	return tpm2.TPMRHOwner
}

// auth authorizes the use of the root as a parent; its auth value is empty.
func (r *root) auth(s tpm2.Session) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: r.handle, Name: r.name, Auth: s}
}

// roots remembers storage roots so that they cost little.
type roots struct {
	primary *root             // loaded through the present connection
	saved   *tpm2.TPMSContext // the same, saved by the chip; good until it restarts
	shape   root              // name and public area of what is saved
	fixed   *root             // the persistent one
	looked  bool              // whether the present connection was asked for it
	vacant  bool              // whether it found nothing at the handle
}

// loaded is the transient handle we keep in the chip, or 0.
func (r *roots) loaded() tpm2.TPMHandle {
	if r.primary == nil {
		return 0
	}
	return r.primary.handle
}

func (r *roots) disconnected() { r.primary, r.fixed, r.looked, r.vacant = nil, nil, false, false }

// rootForNewKeys returns the persistent storage root when there is a proper
// one, which also works when the owner has set a password, else the primary key
// that every TSS2 key file reader can make again.
func (c *chip) rootForNewKeys() (*root, error) {
	fixed, err := c.fixedRoot()
	if err != nil || fixed != nil {
		return fixed, err
	}
	return c.primaryRoot()
}

// rootNamed returns the storage root with that Name, or hsm.ErrForeignKey: a
// chip without it is another chip, or was cleared, and must not be sent
// anything meant for that root.
func (c *chip) rootNamed(name []byte) (*root, error) {
	for _, find := range []func() (*root, error){c.cachedRoot, c.fixedRoot, c.primaryRoot} {
		r, err := find()
		if err != nil {
			return nil, err
		}
		if r != nil && bytes.Equal(r.name.Buffer, name) {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: it has another storage root", hsm.ErrForeignKey)
}

func (c *chip) cachedRoot() (*root, error) { return c.link.roots.primary, nil }

// fixedRoot returns the persistent storage root, or nil when there is none that
// deserves to be one.
func (c *chip) fixedRoot() (*root, error) {
	known := &c.link.roots
	if known.looked {
		return known.fixed, nil
	}
	rsp, err := tpm2.ReadPublic{ObjectHandle: persistentRoot}.Execute(c)
	if err != nil && !errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fmt.Errorf("look for a storage root: %w", err)
	}
	known.looked, known.vacant = true, err != nil
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // absence is an answer
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil || !trustworthy(public) {
		return nil, nil //nolint:nilnil,nilerr // a key of another kind, somebody else's
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, err
	}
	known.fixed = &root{persistentRoot, *name, *public}
	return known.fixed, nil
}

// trustworthy reports whether a key is a storage root, P-256 or RSA of 2048 bits,
// born in the chip and bound to it: anything else there could have a private
// half somebody knows. With noDA clear one key's lockout would lock out all.
func trustworthy(p *tpm2.TPMTPublic) bool {
	if p.NameAlg != tpm2.TPMAlgSHA256 || p.ObjectAttributes != keyfile.ECCSRK_H2_Template.ObjectAttributes {
		return false
	}
	if curve, err := p.Parameters.ECCDetail(); err == nil && p.Type == tpm2.TPMAlgECC {
		return curve.CurveID == tpm2.TPMECCNistP256
	}
	rsa, err := p.Parameters.RSADetail()
	return err == nil && p.Type == tpm2.TPMAlgRSA && rsa.KeyBits == 2048
}

// rootForSessions returns a root to salt a session to, where no key's reference
// says which; the cheapest.
func (c *chip) rootForSessions() (*root, error) {
	if r := c.link.roots.primary; r != nil {
		return r, nil
	}
	return c.rootForNewKeys()
}

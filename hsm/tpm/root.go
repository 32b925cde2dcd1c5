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

// primaryRoot loads the primary storage key: from a saved context where the
// chip still knows it, else by deriving it again, which costs a slow chip most.
func (c *chip) primaryRoot() (*root, error) {
	known := &c.link.roots
	if known.primary != nil {
		return known.primary, nil
	}
	if known.saved != nil {
		rsp, err := tpm2.ContextLoad{Context: *known.saved}.Execute(c)
		if err == nil {
			known.primary = &root{rsp.LoadedHandle, known.shape.name, known.shape.public}
			return known.primary, nil
		}
		if c.ctx.Err() != nil || c.link.wire == nil {
			return nil, err
		}
		known.saved = nil // the chip has restarted since
	}
	return c.derivePrimary()
}

func (c *chip) derivePrimary() (*root, error) {
	derived, err := c.makePrimary()
	if err != nil {
		return nil, fmt.Errorf("derive the storage root: %w", err)
	}
	known := &c.link.roots
	known.primary = derived
	if saved, err := (tpm2.ContextSave{SaveHandle: derived.handle}).Execute(c); err == nil {
		known.saved, known.shape = &saved.Context, *derived
	}
	return known.primary, nil
}

// makePrimary makes the primary storage key. An owner password goes there in a
// session salted to a key of the null hierarchy, which takes no password. Nobody
// vouches for that key: who sits between us and the chip and changes what passes
// could put its own there, and try passwords offline. Who only listens cannot.
func (c *chip) makePrimary() (made *root, err error) {
	salt := &root{}
	if set, err := c.ownerHasPassword(); err != nil {
		return nil, err
	} else if set {
		null := tpm2.AuthHandle{Handle: tpm2.TPMRHNull, Auth: tpm2.PasswordAuth(nil)}
		if salt, err = c.createRoot(null); err != nil {
			return nil, err
		}
		defer func() { c.flush(salt.handle) }()
	}
	err = c.asOwner(salt.proof, func(owner tpm2.AuthHandle) (err error) {
		made, err = c.createRoot(owner)
		return err
	})
	return made, err
}

// createRoot makes the standard storage key of a hierarchy. Its Name is computed
// here, from the very public area that sessions are salted to, and not taken
// from the answer, which nobody vouches for.
func (c *chip) createRoot(hierarchy tpm2.AuthHandle) (*root, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: hierarchy, InPublic: tpm2.New2B(keyfile.ECCSRK_H2_Template),
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return nil, fmt.Errorf("storage root: %w", err)
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return nil, fmt.Errorf("storage root: %w", err)
	}
	return &root{rsp.ObjectHandle, *name, *public}, nil
}

// settle makes a derived root persistent where nothing is at the usual handle.
// Failing is no error: the root serves as it is.
func (c *chip) settle(r *root) *root {
	known := &c.link.roots
	if r != known.primary || !known.vacant {
		return r
	}
	err := c.asOwner(r.proof, func(owner tpm2.AuthHandle) error {
		_, err := tpm2.EvictControl{
			Auth: owner, ObjectHandle: tpm2.NamedHandle{Handle: r.handle, Name: r.name}, PersistentHandle: persistentRoot,
		}.Execute(c)
		return err
	})
	if err != nil {
		return r
	}
	c.flush(r.handle)
	known.primary, known.vacant = nil, false
	known.fixed = &root{persistentRoot, r.name, r.public}
	return known.fixed
}

// rootForSessions returns a root to salt a session to, where no key's reference
// says which; the cheapest.
func (c *chip) rootForSessions() (*root, error) {
	if r := c.link.roots.primary; r != nil {
		return r, nil
	}
	return c.rootForNewKeys()
}

package tpm

import (
	"fmt"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
)

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
	// To save it may lose the connection, and known.primary with it.
	if saved, err := (tpm2.ContextSave{SaveHandle: derived.handle}).Execute(c); err == nil {
		known.saved, known.shape = &saved.Context, *derived
	}
	return derived, nil
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

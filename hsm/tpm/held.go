package tpm

import (
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// held is the one key that stays in the chip between signatures, for as long as
// the connection lasts. One at a time: many a chip has room for three objects,
// of which the storage root takes one and other programs may take one too.
type held struct {
	ref    *reference
	handle tpm2.TPMHandle
}

// load makes sure the key is in the chip, in place of the one that was, and
// keeps it there: the caller does not flush it. It returns hsm.ErrForeignKey
// when the root or the blob is not this chip's.
func (c *chip) load(ref *reference) (tpm2.NamedHandle, error) {
	if c.link.held.ref == ref {
		return tpm2.NamedHandle{Handle: c.link.held.handle, Name: ref.name}, nil
	}
	c.release()
	handle, err := c.loadSaved(ref)
	if err == nil && handle == 0 {
		handle, err = c.loadBlob(ref)
	}
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	c.link.held = held{ref, handle}
	c.save(ref, handle)
	return tpm2.NamedHandle{Handle: handle, Name: ref.name}, nil
}

// putAway takes the held key and the sessions of its PIN out of the chip, where
// something else needs their place.
func (c *chip) putAway() {
	c.endSessions()
	c.release()
}

// release takes the held key out of the chip.
func (c *chip) release() {
	if c.link.held.ref != nil && c.link.wire != nil {
		c.flush(c.link.held.handle)
	}
	c.link.held = held{}
}

// save has the chip wrap the loaded key for itself, once. What it gives out is
// good until its next reset, cheaper to load than the blob, and needs no root.
func (c *chip) save(ref *reference, handle tpm2.TPMHandle) {
	if ref.saved != nil || c.link.wire == nil {
		return
	}
	if rsp, err := (tpm2.ContextSave{SaveHandle: handle}).Execute(c); err == nil {
		ref.saved = &rsp.Context
	}
}

// loadSaved returns 0 where nothing is saved, or the chip has been reset since.
func (c *chip) loadSaved(ref *reference) (tpm2.TPMHandle, error) {
	if ref.saved == nil {
		return 0, nil
	}
	rsp, err := tpm2.ContextLoad{Context: *ref.saved}.Execute(c)
	if err == nil {
		return rsp.LoadedHandle, nil
	}
	if c.link.wire == nil || outOfMemory(err) {
		return 0, err
	}
	ref.saved = nil
	return 0, nil
}

func (c *chip) loadBlob(ref *reference) (tpm2.TPMHandle, error) {
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return 0, err
	}
	rsp, err := tpm2.Load{
		ParentHandle: r.auth(tpm2.PasswordAuth(nil)),
		InPrivate:    ref.private,
		InPublic:     tpm2.New2B(ref.public),
	}.Execute(c)
	if err == nil {
		return rsp.ObjectHandle, nil
	}
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return 0, fmt.Errorf("%w: %w", hsm.ErrForeignKey, err)
	}
	if fmt1 := (tpm2.TPMFmt1Error{}); errors.As(err, &fmt1) {
		if isParameter, _ := fmt1.Parameter(); isParameter {
			return 0, fmt.Errorf("%w: %w", hsm.ErrBadReference, err)
		}
	}
	return 0, fmt.Errorf("load the key: %w", err)
}

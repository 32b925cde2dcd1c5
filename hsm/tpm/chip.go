package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// chip is one turn at the TPM. It is go-tpm's transport for that turn's context.
type chip struct {
	ctx  context.Context //nolint:containedctx // go-tpm's transport has no room for one
	link *link
}

// Send implements transport.TPM. It sends the same bytes again while the TPM
// asks for that (Part 2, 6.6.3: RETRY, YIELDED, TESTING), which leaves session
// nonces as they are. A kernel device does so by itself; a socket does not.
func (c *chip) Send(cmd []byte) ([]byte, error) {
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if c.link.wire == nil {
			return nil, wireError(c.ctx, errHungUp) // by a command whose failure was of no interest
		}
		rsp, err := c.link.wire.exchange(c.ctx, cmd)
		if err != nil {
			c.link.drop()
			return nil, wireError(c.ctx, err)
		}
		if !again(rsp) {
			return rsp, nil
		}
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
			return nil, wireError(c.ctx, context.Cause(c.ctx))
		}
	}
}

var errHungUp = errors.New("hung up")

func again(rsp []byte) bool {
	rc := tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:]))
	return rc == tpm2.TPMRCRetry || rc == tpm2.TPMRCYielded || rc == tpm2.TPMRCTesting
}

// resume runs f, and once more where the chip has forgotten what we had in it:
// it was reset, or cleared, or another program flushed too much. What f proved
// before counts for nothing then, so nothing is spent twice.
func (c *chip) resume(f func(*chip) error) error {
	err := f(c)
	if !forgotten(err) {
		return err
	}
	c.unload()
	if err = f(c); forgotten(err) {
		return fmt.Errorf("%w: %w", hsm.ErrReset, err)
	}
	return err
}

// forgotten reports that the chip does not know a handle of ours (Part 2, 6.6.3:
// REFERENCE_H0 to S6; HANDLE for a persistent object).
func forgotten(err error) bool {
	var rc tpm2.TPMRC
	if errors.As(err, &rc) {
		const first, last = tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceS6
		return rc >= first && rc <= last || errors.Is(rc, tpm2.TPMRCHandle)
	}
	return errors.Is(err, tpm2.TPMRCHandle)
}

// unload takes our objects out of the chip. Where the connection is lost it
// does nothing.
func (c *chip) unload() {
	c.putAway()
	if h := c.link.roots.loaded(); h != 0 && c.link.wire != nil {
		c.flush(h)
	}
	c.link.roots.disconnected()
}

// flush takes an object or session out of the chip. Failing is harmless here:
// either the chip has forgotten it, or the connection is lost and with it ours.
func (c *chip) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(c)
}

// undo takes back a half-done change, even when the context or the connection
// has ended meanwhile. A chip that is gone, or hangs, keeps the half-done change:
// the caller has given up and does not wait for long.
func (c *chip) undo(f func(*chip) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), min(c.link.limit, time.Second))
	defer cancel()
	again := &chip{ctx: ctx, link: c.link}
	if c.link.connect(again) == nil {
		_ = f(again)
	}
}

// sweep flushes every transient object and session in the chip.
func (c *chip) sweep() error {
	const loadedSessions, savedSessions, transients = 0x02000000, 0x03000000, 0x80000000
	for _, first := range []uint32{transients, loadedSessions, savedSessions} {
		handles, err := c.handles(first)
		if err != nil {
			return fmt.Errorf("look for leftovers: %w", err)
		}
		for _, h := range handles {
			c.flush(h)
		}
	}
	return nil
}

func (c *chip) handles(first uint32) ([]tpm2.TPMHandle, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64,
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	return list.Handle, nil
}

// keepsState reports errors that leave nothing behind in the chip.
func keepsState(err error) bool {
	return errors.Is(err, hsm.ErrWrongPIN) || errors.Is(err, hsm.ErrPINLocked) || errors.Is(err, hsm.ErrPINRequired)
}

package tpm

import (
	"errors"
	"time"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
)

// This file is the way without a PIN index: the PIN is the key's own auth value,
// and the chip's dictionary-attack logic counts wrong ones, everybody's together.

// newLockoutKey makes a key whose auth value is made from the PIN.
func (c *chip) newLockoutKey(r *root, t hsm.Template) (*reference, error) {
	auth := authValue(t.PIN)
	defer clear(auth)
	return c.newKeyUnder(r, lockoutKey(t.Algorithm), auth)
}

// signBehindLockout proves the PIN with the signature's own command.
func (c *chip) signBehindLockout(ref *reference, command tpm2.Sign, pin secret.Value) (*tpm2.SignResponse, error) {
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return nil, err
	}
	auth := authValue(pin)
	defer clear(auth)
	command.KeyHandle = tpm2.AuthHandle{Handle: c.link.held.handle, Name: ref.name, Auth: r.session(auth)}
	rsp, err := command.Execute(c)
	switch {
	case errors.Is(err, tpm2.TPMRCAuthFail):
		return nil, &hsm.PINError{TriesLeft: c.lockout().triesLeft()}
	case errors.Is(err, tpm2.TPMRCLockout):
		return nil, &hsm.LockedError{Until: c.lockout().until(time.Now())}
	}
	return rsp, err
}

// lockout is the state of the chip-wide counter of wrong guesses.
type lockout struct {
	known          bool
	failures, most uint32
	interval       time.Duration // after which the chip forgets one failure
}

func (c *chip) lockout() (l lockout) {
	p, err := c.properties(tpm2.TPMPTLockoutCounter, 3)
	if err != nil {
		return lockout{}
	}
	return lockout{
		known:    true,
		failures: p[tpm2.TPMPTLockoutCounter], most: p[tpm2.TPMPTMaxAuthFail],
		interval: time.Duration(p[tpm2.TPMPTLockoutInterval]) * time.Second,
	}
}

func (l lockout) triesLeft() int {
	if !l.known {
		return -1
	}
	return int(max(l.most, l.failures) - l.failures)
}

// until estimates when the chip takes a guess again. The chip does not tell how
// much of the present interval has passed, so it may be earlier by as much. The
// zero time says that it takes one now, or never.
func (l lockout) until(now time.Time) time.Time {
	if l.triesLeft() != 0 || l.interval == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(l.failures-l.most+1) * l.interval).Round(time.Second)
}

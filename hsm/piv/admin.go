//go:build cgo

package piv

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"countersign/hsm"
	"countersign/internal/secret"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// ownAuth copies what a person brings. Work that goes on when its caller has
// left must not read secrets that the caller wipes: a PIN of zeros is a wrong
// one.
func ownAuth(a hsm.Auth) (own hsm.Auth, wipe func()) {
	own = hsm.Auth{PIN: secret.New(bytes.Clone(a.PIN.Reveal())), Admin: secret.New(bytes.Clone(a.Admin.Reveal()))}
	return own, func() { own.PIN.Wipe(); own.Admin.Wipe() }
}

// checkAuth refuses a PIN that the card must not see, where there is one.
func checkAuth(auth hsm.Auth) error {
	if auth.PIN.Empty() {
		return nil
	}
	return checkPIN(auth.PIN)
}

// managementKey returns the management key that the person brings, or the one
// that the token keeps under the PIN. Whether it is right shows when it is used.
func (t *token) managementKey(auth hsm.Auth) ([]byte, error) {
	if !auth.Admin.Empty() {
		return bytes.Clone(auth.Admin.Reveal()), nil
	}
	if auth.PIN.Empty() {
		return nil, fmt.Errorf("%w: or the PIN, where the token keeps the key under it", hsm.ErrAdminRequired)
	}
	kept, err := t.protectedData(auth.PIN)
	if err != nil {
		return nil, err
	}
	if kept == nil || kept.ManagementKey == nil {
		return nil, fmt.Errorf("%w: the token does not keep it under the PIN", hsm.ErrAdminRequired)
	}
	return *kept.ManagementKey, nil
}

// protectedData proves the PIN and reads what the token keeps under it; nil
// where that is nothing of the kind.
func (t *token) protectedData(pin secret.Value) (*yubico.Metadata, error) {
	if err := t.visit.ended(); err != nil {
		return nil, err
	}
	t.proved = true
	data, err := t.Metadata(string(pin.Reveal()))
	if err == nil {
		return data, nil
	}
	if err := pinError(err); statusOf(err) != 0 || pcscCode(err) != 0 || errors.Is(err, hsm.ErrWrongPIN) || errors.Is(err, hsm.ErrPINLocked) {
		return nil, err
	}
	return nil, nil // the PIN was right, and the object is not one with a management key
}

// keepUnderPIN replaces the management key by a random one that the token keeps
// under the PIN, in the form that ykman uses. The new key is stored first and
// set last: whenever this breaks off, one of the two is known to somebody.
func (t *token) keepUnderPIN(old []byte, pin secret.Value) ([]byte, error) {
	data, err := t.protectedData(pin)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%w: the token keeps something else under the PIN", hsm.ErrUnsupported)
	}
	if data.ManagementKey != nil && bytes.Equal(*data.ManagementKey, old) {
		return old, nil
	}
	random := make([]byte, 24)
	_, _ = rand.Read(random) // never fails
	data.ManagementKey = &random
	if err := t.SetMetadata(old, data); err != nil {
		return nil, changeError(err)
	}
	kept, err := t.protectedData(pin)
	if err != nil {
		return nil, err
	}
	if kept == nil || kept.ManagementKey == nil || !bytes.Equal(*kept.ManagementKey, random) {
		return nil, errors.New("the token did not keep the new management key")
	}
	if err := t.SetManagementKey(old, random); err != nil {
		return nil, changeError(err)
	}
	return random, nil
}

// changeError names the refusal of what takes the management key. piv-go's
// errors carry their step as text only.
func changeError(err error) error {
	switch {
	case err == nil:
		return nil
	case pcscCode(err) == 0 && strings.HasPrefix(err.Error(), "authenticating with"):
		return fmt.Errorf("%w: the card refused the management key: %w", hsm.ErrAdminRequired, err)
	case strings.Contains(err.Error(), fmt.Sprintf("smart card error %04x", swNoMemory)):
		return fmt.Errorf("%w: %w", hsm.ErrNoRoom, err)
	}
	return err
}

//go:build cgo

package piv_test

import (
	"context"
	"os"

	"countersign/hsm"
	"countersign/hsm/piv"
	"countersign/internal/secret"
)

// homed is a Provider with a pcscd of its own. Where pcscd is, is a matter of
// the whole process, by a link that PCSCD.Use makes; where a test has two, the
// link follows the calls.
type homed struct {
	*piv.Provider
	socket string
}

func (h *homed) home() *piv.Provider {
	link := os.Getenv("PCSCLITE_CSOCK_NAME")
	if at, _ := os.Readlink(link); at != h.socket {
		_ = os.Remove(link)
		_ = os.Symlink(h.socket, link)
	}
	return h.Provider
}

func (h *homed) Create(ctx context.Context, t hsm.Template) (hsm.Key, error) {
	return h.wrap(h.home().Create(ctx, t))
}

func (h *homed) Open(ctx context.Context, reference []byte) (hsm.Key, error) {
	return h.wrap(h.home().Open(ctx, reference))
}

func (h *homed) wrap(key hsm.Key, err error) (hsm.Key, error) {
	if err != nil {
		return nil, err
	}
	wrapped := &homedKey{key, h}
	if _, ok := key.(hsm.PINChanger); ok {
		return &homedBoundKey{wrapped}, nil
	}
	return wrapped, nil
}

func (h *homed) Release(ctx context.Context, reservation []byte) error {
	return h.home().Release(ctx, reservation)
}

func (h *homed) Reclaim(ctx context.Context, reservation []byte, auth hsm.Auth) error {
	return h.home().Reclaim(ctx, reservation, auth)
}

func (h *homed) Status(ctx context.Context) (hsm.Status, error) { return h.home().Status(ctx) }

func (h *homed) Identify(ctx context.Context) (string, error) { return h.home().Identify(ctx) }

func (h *homed) Claim(ctx context.Context, keys []hsm.Key) (hsm.Claim, error) {
	return h.home().Claim(ctx, unwrap(keys))
}

func (h *homed) Prove(ctx context.Context, c hsm.Claim, challenge hsm.Challenge, keys []hsm.Key, auth hsm.Auth) (hsm.Proof, error) {
	return h.home().Prove(ctx, c, challenge, unwrap(keys), auth)
}

func unwrap(keys []hsm.Key) []hsm.Key {
	var inner []hsm.Key
	for _, key := range keys {
		inner = append(inner, key.(interface{ unwrap() hsm.Key }).unwrap())
	}
	return inner
}

type homedKey struct {
	hsm.Key
	at *homed
}

func (k *homedKey) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	k.at.home()
	return k.Key.Sign(ctx, digest, auth)
}

func (k *homedKey) Delete(ctx context.Context, auth hsm.Auth) error {
	k.at.home()
	return k.Key.Delete(ctx, auth)
}

func (k *homedKey) Inspect(ctx context.Context) (hsm.Health, error) {
	k.at.home()
	return k.Key.(hsm.Inspector).Inspect(ctx)
}

func (k *homedKey) unwrap() hsm.Key { return k.Key }

type homedBoundKey struct{ *homedKey }

func (k *homedBoundKey) ChangePIN(ctx context.Context, old, fresh secret.Value) error {
	k.at.home()
	return k.Key.(hsm.PINChanger).ChangePIN(ctx, old, fresh)
}

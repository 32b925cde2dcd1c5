package tpm

import (
	"context"
	"crypto/sha256"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
)

// Sign implements hsm.Key. A PIN given to a key without PIN is ignored.
func (k *key) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("tpm: sign: digest of %d bytes, want %d", len(digest), sha256.Size)
	}
	if k.counter() != hsm.CounterNone {
		if err := checkPIN(auth.PIN); err != nil {
			return nil, fmt.Errorf("tpm: sign: %w", err)
		}
	}
	var signature []byte
	err := k.provider.link.do(ctx, func(c *chip) (err error) {
		signature, err = c.sign(k.reference, digest, auth.PIN)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tpm: sign: %w", err)
	}
	return signature, nil
}

// sign signs with whatever the key asks for.
//
// Not every signature is verified here. With a PIN the chip's answer comes in a
// salted session, whose HMAC nobody between us can make. Without one, whoever
// can change what crosses the bus can also have anything signed, or cut the
// line: a verification would only find out sooner than the receiver does, and
// cost a tenth of each signature. RSA is the exception, see encodeSignature.
func (c *chip) sign(ref *reference, digest []byte, pin secret.Value) ([]byte, error) {
	key, err := c.load(ref)
	if err != nil {
		return nil, err
	}
	command := ref.signCommand(key, digest)
	var rsp *tpm2.SignResponse
	switch ref.counter() {
	case hsm.CounterIndex:
		rsp, err = c.signBehindIndex(ref, command, pin)
	case hsm.CounterLockout:
		rsp, err = c.signBehindLockout(ref, command, pin)
	default:
		command.KeyHandle = tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)}
		rsp, err = command.Execute(c)
	}
	if err != nil {
		return nil, err
	}
	return encodeSignature(ref.verifier, digest, rsp.Signature)
}

func (r *reference) signCommand(key tpm2.NamedHandle, digest []byte) tpm2.Sign {
	return tpm2.Sign{
		KeyHandle:  key,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   signingScheme(r.public.Type),
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}
}

// signBehindIndex proves the PIN to the index, in a policy session that thereby
// allows this one command and no other.
func (c *chip) signBehindIndex(ref *reference, command tpm2.Sign, pin secret.Value) (*tpm2.SignResponse, error) {
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return nil, err
	}
	if err := c.mustBePresent(ref.index); err != nil {
		return nil, err
	}
	kept, err := c.keptSessions(r)
	if err != nil {
		return nil, err
	}
	if err := c.provePIN(r, ref.index, kept, command, pin); err != nil {
		c.endSessions()
		return nil, err
	}
	command.KeyHandle = tpm2.AuthHandle{Handle: c.link.held.handle, Name: ref.name, Auth: kept.policy}
	rsp, err := command.Execute(c)
	if err != nil {
		c.endSessions() // the policy session would remember the proof
	}
	return rsp, err
}

// provePIN has the index check the PIN and the policy session note it, for the
// one command.
func (c *chip) provePIN(r *root, x *pinIndex, kept *sessions, command tpm2.Sign, pin secret.Value) error {
	name, err := x.name()
	if err != nil {
		return err
	}
	cpHash, err := tpm2.CPHash[tpm2.SignResponse](tpm2.TPMAlgSHA256, command)
	if err != nil {
		return err
	}
	defer kept.offer(pin)()
	_, err = tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: x.public.NVIndex, Name: name, Auth: kept.proof},
		PolicySession: kept.policy.Handle(),
		NonceTPM:      kept.policy.NonceTPM(),
		CPHashA:       *cpHash,
	}.Execute(c)
	return c.proveError(err, r, x)
}

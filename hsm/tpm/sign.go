package tpm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Sign implements hsm.Key. A PIN given to a key without PIN is ignored.
func (k *key) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("tpm: sign: digest of %d bytes, want %d", len(digest), sha256.Size)
	}
	if k.counter() != hsm.CounterNone && auth.PIN.Empty() {
		return nil, fmt.Errorf("tpm: sign: %w", hsm.ErrPINRequired)
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

func (ref *reference) signCommand(key tpm2.NamedHandle, digest []byte) tpm2.Sign {
	return tpm2.Sign{
		KeyHandle:  key,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   signingScheme(ref.public.Type),
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}
}

// signBehindIndex proves the PIN to the index, in a policy session that thereby
// allows this one command and no other. Both sessions are salted and end with
// their only use.
func (c *chip) signBehindIndex(ref *reference, command tpm2.Sign, pin secret.Value) (*tpm2.SignResponse, error) {
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return nil, err
	}
	cpHash, err := tpm2.CPHash[tpm2.SignResponse](tpm2.TPMAlgSHA256, command)
	if err != nil {
		return nil, err
	}
	name, err := ref.index.name()
	if err != nil {
		return nil, err
	}
	auth := authValue(pin)
	defer clear(auth)
	proof, policy := r.session(auth), tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, noPolicyYet, r.salted())
	defer c.end(proof, policy)
	if err := c.startBeside(func() error { return c.mustBePresent(ref.index) }, policy, proof); err != nil {
		return nil, err
	}
	_, err = tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: ref.index.public.NVIndex, Name: name, Auth: proof},
		PolicySession: policy.Handle(),
		NonceTPM:      policy.NonceTPM(),
		CPHashA:       *cpHash,
	}.Execute(c)
	if err != nil {
		return nil, c.proveError(err, r, ref.index)
	}
	command.KeyHandle = tpm2.AuthHandle{Handle: c.link.held.handle, Name: ref.name, Auth: policy}
	return command.Execute(c)
}

// noPolicyYet lets a policy session start; the policy follows.
func noPolicyYet(transport.TPM, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil }

// mustBePresent keeps the PIN, even as a wrong answer, from an index that took
// the place of ours: a try would be spent on somebody else.
func (c *chip) mustBePresent(x *pinIndex) error {
	present, err := c.present(x)
	if err == nil && !present {
		err = fmt.Errorf("%w: its PIN index is gone or was replaced", hsm.ErrForeignKey)
	}
	return err
}

// startBeside starts sessions while something else is done. Half of what a
// salted session costs is arithmetic on our side: it is done while the chip is
// at work on the one before.
func (c *chip) startBeside(work func() error, sessions ...tpm2.Session) error {
	var wg sync.WaitGroup
	errs := make([]error, 1+len(sessions))
	for i, s := range sessions {
		wg.Go(func() { errs[i+1] = s.Init(c) })
	}
	errs[0] = work()
	wg.Wait()
	return cmp.Or(errs...)
}

// end takes out of the chip the sessions that did not end by themselves.
func (c *chip) end(sessions ...tpm2.Session) {
	for _, s := range sessions {
		if h := s.Handle(); h != tpm2.TPMRHNull && c.link.wire != nil {
			c.flush(h)
		}
	}
}

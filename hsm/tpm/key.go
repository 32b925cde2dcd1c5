package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"countersign/hsm"
	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// key is a key of a Provider. It holds nothing in the chip between calls.
type key struct {
	provider *Provider
	*reference
	encoded []byte
}

var _ hsm.Key = (*key)(nil)

// Create implements hsm.Provider. With a PIN it also takes one NV index of the
// chip, which Delete gives back.
func (p *Provider) Create(ctx context.Context, t hsm.Template) (hsm.Key, error) {
	if err := checkTemplate(t); err != nil {
		return nil, fmt.Errorf("tpm: create a key: %w", err)
	}
	var ref *reference
	var encoded []byte
	err := p.link.do(ctx, func(c *chip) (err error) {
		if ref, err = c.newKey(t); err != nil {
			return err
		}
		encoded, err = ref.encode()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tpm: create a key: %w", err)
	}
	return &key{p, ref, encoded}, nil
}

func checkTemplate(t hsm.Template) error {
	switch {
	case t.Touch:
		return fmt.Errorf("%w: a TPM has no touch sensor", hsm.ErrUnsupported)
	case t.Algorithm != "" && t.Algorithm != hsm.ES256:
		return fmt.Errorf("%w: algorithm %s", hsm.ErrUnsupported, t.Algorithm)
	case t.PINBound:
		return checkPIN(t.PIN)
	}
	return nil
}

// checkPIN refuses what cannot be the PIN of any key, before it costs a try.
func checkPIN(pin secret.Value) error {
	switch n := len(pin.Reveal()); {
	case n == 0:
		return hsm.ErrPINRequired
	case n < hsm.MinPIN || n > hsm.MaxPIN:
		return fmt.Errorf("%w: it has %d to %d bytes", hsm.ErrBadPIN, hsm.MinPIN, hsm.MaxPIN)
	}
	return nil
}

// Release implements hsm.Provider: what outlives a crash is the PIN index.
func (p *Provider) Release(ctx context.Context, reservation []byte) error {
	public, err := tpm2.Unmarshal[tpm2.TPMSNVPublic](reservation)
	if err != nil {
		return fmt.Errorf("tpm: release: %w: %w", hsm.ErrBadReference, err)
	}
	err = p.link.do(ctx, func(c *chip) error { return c.undefine(&pinIndex{public: *public}) })
	if err != nil {
		return fmt.Errorf("tpm: release: %w", err)
	}
	return nil
}

// Open implements hsm.Provider. It asks the chip, so that a foreign or
// orphaned key shows before anybody is asked for a PIN.
func (p *Provider) Open(ctx context.Context, encoded []byte) (hsm.Key, error) {
	ref, err := decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("tpm: open a key: %w", err)
	}
	err = p.link.do(ctx, func(c *chip) error {
		_, loaded, err := c.load(ref)
		if err == nil {
			c.flush(loaded.Handle)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tpm: open a key: %w", err)
	}
	return &key{p, ref, append([]byte(nil), encoded...)}, nil
}

// Public implements hsm.Key.
func (k *key) Public() crypto.PublicKey { return k.verifier }

// Protection implements hsm.Key.
func (k *key) Protection() hsm.Protection {
	if k.index == nil {
		return hsm.Protection{}
	}
	return hsm.Protection{Counter: hsm.CounterIndex}
}

// Reference implements hsm.Key.
func (k *key) Reference() []byte { return append([]byte(nil), k.encoded...) }

// Sign implements hsm.Key. A PIN given to a key without PIN is ignored.
func (k *key) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("tpm: sign: digest of %d bytes, want %d", len(digest), sha256.Size)
	}
	if k.index != nil {
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

// Delete implements hsm.Key. Only a PIN-bound key leaves something in the chip.
func (k *key) Delete(ctx context.Context, _ hsm.Auth) error {
	if k.index == nil {
		return nil
	}
	err := k.provider.link.do(ctx, func(c *chip) error { return c.undefine(k.index) })
	if err != nil {
		return fmt.Errorf("tpm: delete a key: %w", err)
	}
	return nil
}

// newKey makes a key, and its PIN index first where there is a PIN.
func (c *chip) newKey(t hsm.Template) (*reference, error) {
	r, err := c.rootForNewKeys()
	if err != nil {
		return nil, err
	}
	if !t.PINBound {
		return c.newKeyUnder(r, nil)
	}
	index, err := c.newPINIndex(r, t)
	if err != nil {
		return nil, err
	}
	ref, err := c.newKeyUnder(r, index)
	if err != nil {
		c.undo(func(c *chip) error { return c.undefine(index) })
	}
	return ref, err
}

func (c *chip) newKeyUnder(r *root, index *pinIndex) (*reference, error) {
	var policy []byte
	if index != nil {
		var err error
		if policy, err = index.keyPolicy(); err != nil {
			return nil, err
		}
	}
	rsp, err := tpm2.Create{
		ParentHandle: r.auth(r.session(nil)),
		InPublic:     tpm2.New2B(signingKey(policy)),
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	verifier, err := publicKey(public)
	if err != nil {
		return nil, err
	}
	return &reference{
		parent: r.file(), private: rsp.OutPrivate, public: *public, root: r.name.Buffer,
		hash: rsp.CreationHash.Buffer, ticket: rsp.CreationTicket,
		index: index, verifier: verifier,
	}, nil
}

// load brings a key into the chip; the caller flushes it. It returns
// hsm.ErrForeignKey when the root, the blob or the PIN index is not this
// chip's.
func (c *chip) load(ref *reference) (*root, tpm2.NamedHandle, error) {
	none := tpm2.NamedHandle{}
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return nil, none, err
	}
	if ref.index != nil {
		present, err := c.present(ref.index)
		if err != nil {
			return nil, none, err
		}
		if !present {
			return nil, none, fmt.Errorf("%w: its PIN index is gone or was replaced", hsm.ErrForeignKey)
		}
	}
	rsp, err := tpm2.Load{
		ParentHandle: r.auth(tpm2.PasswordAuth(nil)),
		InPrivate:    ref.private,
		InPublic:     tpm2.New2B(ref.public),
	}.Execute(c)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return nil, none, fmt.Errorf("%w: %w", hsm.ErrForeignKey, err)
	}
	if fmt1 := (tpm2.TPMFmt1Error{}); errors.As(err, &fmt1) {
		if isParameter, _ := fmt1.Parameter(); isParameter {
			return nil, none, fmt.Errorf("%w: %w", hsm.ErrBadReference, err)
		}
	}
	if err != nil {
		return nil, none, fmt.Errorf("load the key: %w", err)
	}
	return r, tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, nil
}

// sign loads the key, proves the PIN where there is one, and signs. The result
// is verified here, so that a flipped bit on the way is not passed on.
func (c *chip) sign(ref *reference, digest []byte, pin secret.Value) ([]byte, error) {
	r, loaded, err := c.load(ref)
	if err != nil {
		return nil, err
	}
	defer c.flush(loaded.Handle)
	command := signCommand(loaded, digest)
	var rsp *tpm2.SignResponse
	if ref.index == nil {
		command.KeyHandle = tpm2.AuthHandle{Handle: loaded.Handle, Name: loaded.Name, Auth: tpm2.PasswordAuth(nil)}
		rsp, err = command.Execute(c)
	} else {
		rsp, err = c.signWithPIN(r, ref.index, command, pin)
	}
	if err != nil {
		return nil, err
	}
	signature, err := derSignature(rsp.Signature)
	if err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(ref.verifier, digest, signature) {
		return nil, errors.New("the TPM's signature does not verify")
	}
	return signature, nil
}

func signCommand(loaded tpm2.NamedHandle, digest []byte) tpm2.Sign {
	return tpm2.Sign{
		KeyHandle: loaded,
		Digest:    tpm2.TPM2BDigest{Buffer: digest},
		InScheme: tpm2.TPMTSigScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256}),
		},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}
}

// signWithPIN proves the PIN to the index, in a policy session that thereby
// allows this one command and no other.
func (c *chip) signWithPIN(r *root, x *pinIndex, command tpm2.Sign, pin secret.Value) (*tpm2.SignResponse, error) {
	name, err := x.name()
	if err != nil {
		return nil, err
	}
	cpHash, err := tpm2.CPHash[tpm2.SignResponse](tpm2.TPMAlgSHA256, command)
	if err != nil {
		return nil, err
	}
	auth := authValue(pin)
	defer clear(auth)
	policy, done, err := tpm2.PolicySession(c, tpm2.TPMAlgSHA256, nonceSize, r.salted())
	if err != nil {
		return nil, fmt.Errorf("start a policy session: %w", err)
	}
	defer func() { _ = done() }()
	_, err = tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: x.public.NVIndex, Name: name, Auth: r.session(auth)},
		PolicySession: policy.Handle(),
		NonceTPM:      policy.NonceTPM(),
		CPHashA:       *cpHash,
	}.Execute(transport.TPM(c))
	if err != nil {
		return nil, c.proveError(err, x)
	}
	handle := command.KeyHandle
	command.KeyHandle = tpm2.AuthHandle{Handle: tpm2.TPMHandle(handle.HandleValue()), Name: *handle.KnownName(), Auth: policy}
	return command.Execute(c)
}

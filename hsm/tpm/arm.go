package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// newPINIndex defines an index with the PIN and writes it once. On failure
// nothing stays behind.
func (c *chip) newPINIndex(r *root, t hsm.Template) (*pinIndex, error) {
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	index, err := indexTemplate(&authority.PublicKey)
	if err != nil {
		return nil, err
	}
	auth := authValue(t.PIN)
	defer clear(auth)
	err = c.define(r, index, auth, t.Reserve)
	if err == nil {
		err = c.arm(r, index, authority)
	}
	if err != nil {
		c.undo(func(c *chip) error { return c.undefine(index) })
		return nil, err
	}
	return index, nil
}

// arm sets the limit of a defined index and makes sure that the chip keeps the
// promises the design rests on.
func (c *chip) arm(r *root, x *pinIndex, authority *ecdsa.PrivateKey) error {
	if err := c.writeOnce(r, x, authority); err != nil {
		return fmt.Errorf("write the PIN index: %w", err)
	}
	x.public.Attributes.Written = true
	present, err := c.present(x)
	if err != nil {
		return err
	}
	if !present {
		return errors.New("the TPM changed the attributes of the PIN index")
	}
	return c.refusesBinding(x)
}

func indexTemplate(authority *ecdsa.PublicKey) (*pinIndex, error) {
	x := &pinIndex{authority: authorityArea(authority)}
	policy, err := authorityPolicy(&x.authority)
	if err != nil {
		return nil, err
	}
	x.public = tpm2.TPMSNVPublic{
		NameAlg: tpm2.TPMAlgSHA256,
		Attributes: tpm2.TPMANV{
			NT:          tpm2.TPMNTPinFail,
			PolicyWrite: true, // by the authority alone
			AuthRead:    true, // by the PIN, which is what PolicySecret asks for
			OwnerRead:   true, // so that the tries left can be told
			NoDA:        true, // a must for this type (Part 3, 31.3)
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		DataSize:   8,
	}
	return x, nil
}

// authorityPolicy is the policy of an index that the authority alone may write.
func authorityPolicy(authority *tpm2.TPMTPublic) ([]byte, error) {
	name, err := tpm2.ObjectName(authority)
	if err != nil {
		return nil, err
	}
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	signed := tpm2.PolicySigned{AuthObject: tpm2.NamedHandle{Name: *name}}
	if err := signed.Update(calc); err != nil {
		return nil, err
	}
	return calc.Hash().Digest, nil
}

// errNoPINIndex says that the TPM does not know the type, which is of revision
// 1.38 of the specification, or does not keep what the type promises.
var errNoPINIndex = fmt.Errorf("%w: no index that counts wrong PINs", hsm.ErrUnsupported)

// define tries random handles of the owner's range (TCG Registry of Reserved
// TPM 2.0 Handles, 2.2.2) until one is free.
func (c *chip) define(r *root, x *pinIndex, auth []byte, reserve func([]byte) error) error {
	const first, mask, attempts = 0x01800000, 0x003fffff, 8
	for range attempts {
		var random [4]byte
		_, _ = rand.Read(random[:])
		x.public.NVIndex = tpm2.TPMHandle(first | binary.BigEndian.Uint32(random[:])&mask)
		if reserve != nil {
			if err := reserve(tpm2.Marshal(x.public)); err != nil {
				return &callerError{fmt.Errorf("reserve: %w", err)}
			}
		}
		err := c.asOwner(r.session, func(owner tpm2.AuthHandle) error {
			_, err := tpm2.NVDefineSpace{
				AuthHandle: owner, Auth: tpm2.TPM2BAuth{Buffer: auth}, PublicInfo: tpm2.New2B(x.public),
			}.Execute(c)
			return err
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, tpm2.TPMRCNVDefined):
			continue
		case errors.Is(err, tpm2.TPMRCAttributes), errors.Is(err, tpm2.TPMRCReservedBits):
			c.link.noPINIndex = true
			return fmt.Errorf("%w: %w", errNoPINIndex, err)
		}
		return fmt.Errorf("define a PIN index: %w", err)
	}
	return errors.New("define a PIN index: no free handle found")
}

// writeOnce writes count 0 and the limit with the authority's signature, which
// holds for this session and this very command only.
func (c *chip) writeOnce(r *root, x *pinIndex, authority *ecdsa.PrivateKey) error {
	name, err := x.name()
	if err != nil {
		return err
	}
	write := tpm2.NVWrite{
		AuthHandle: tpm2.AuthHandle{Handle: x.public.NVIndex, Name: name},
		NVIndex:    tpm2.NamedHandle{Handle: x.public.NVIndex, Name: name},
		Data:       tpm2.TPM2BMaxNVBuffer{Buffer: binary.BigEndian.AppendUint64(nil, pinTries)},
	}
	cpHash, err := tpm2.CPHash[tpm2.NVWriteResponse](tpm2.TPMAlgSHA256, write)
	if err != nil {
		return err
	}
	key, err := tpm2.LoadExternal{InPublic: tpm2.New2B(x.authority), Hierarchy: tpm2.TPMRHNull}.Execute(c)
	if err != nil {
		return err
	}
	defer c.flush(key.ObjectHandle)
	write.AuthHandle = tpm2.AuthHandle{
		Handle: x.public.NVIndex, Name: name,
		Auth: tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, signedBy(authority, key, *cpHash), r.salted()),
	}
	_, err = write.Execute(c)
	return err
}

// signedBy satisfies PolicySigned for one command (Part 3, 23.3: the digest
// that is signed).
func signedBy(authority *ecdsa.PrivateKey, key *tpm2.LoadExternalResponse, cpHash tpm2.TPM2BDigest) tpm2.PolicyCallback {
	return func(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		h := sha256.New()
		h.Write(nonce.Buffer)
		h.Write(make([]byte, 4)) // expiration: never
		h.Write(cpHash.Buffer)
		signature, err := softwareSignature(authority, h.Sum(nil))
		if err != nil {
			return err
		}
		_, err = tpm2.PolicySigned{
			AuthObject:    tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name},
			PolicySession: session,
			NonceTPM:      nonce,
			CPHashA:       cpHash,
			Auth:          signature,
		}.Execute(t)
		return err
	}
}

// refusesBinding makes sure that no session can be bound to the index. A bound
// session proves the auth value outside the index's count, so a chip that
// allowed it would let PINs be guessed without limit.
func (c *chip) refusesBinding(x *pinIndex) error {
	rsp, err := tpm2.StartAuthSession{
		TPMKey:      tpm2.TPMRHNull,
		Bind:        x.public.NVIndex,
		NonceCaller: tpm2.TPM2BNonce{Buffer: make([]byte, nonceSize)},
		SessionType: tpm2.TPMSEHMAC,
		Symmetric:   tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
		AuthHash:    tpm2.TPMAlgSHA256,
	}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the PIN index: %w", err)
	}
	c.flush(tpm2.TPMHandle(rsp.SessionHandle.HandleValue()))
	c.link.noPINIndex = true
	return fmt.Errorf("%w: PINs can be guessed past it", errNoPINIndex)
}

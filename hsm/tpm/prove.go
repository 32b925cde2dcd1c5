package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Prove implements hsm.Attester. A PIN is not needed: the chip vouches for a key
// without using it. It uses at most three objects and two sessions of the chip.
func (p *Provider) Prove(ctx context.Context, claim hsm.Claim, challenge hsm.Challenge, keys []hsm.Key, _ hsm.Auth) (hsm.Proof, error) {
	refs, err := p.attestable(keys)
	if err != nil {
		return hsm.Proof{}, fmt.Errorf("tpm: prove: %w", err)
	}
	var proof hsm.Proof
	err = p.link.do(ctx, func(c *chip) (err error) {
		proof, err = c.prove(claim, challenge, refs)
		return err
	})
	if err != nil {
		return hsm.Proof{}, fmt.Errorf("tpm: prove: %w", err)
	}
	return proof, nil
}

func (c *chip) prove(claim hsm.Claim, challenge hsm.Challenge, refs []*reference) (hsm.Proof, error) {
	if claim.Format != hsm.FormatTPM2 || len(claim.Resume) != akSeedSize {
		return hsm.Proof{}, fmt.Errorf("%w: not a claim of a TPM", hsm.ErrBadReference)
	}
	c.putAway() // the credential takes three places
	ak, err := c.attestationKey(claim.Resume)
	if err != nil {
		return hsm.Proof{}, err
	}
	defer func() { c.flush(ak.Handle) }()
	if !bytes.Equal(ak.area, claim.AK) {
		return hsm.Proof{}, fmt.Errorf("%w: the claim was made by another or a cleared TPM", hsm.ErrForeignKey)
	}
	var proof hsm.Proof
	if proof.Secret, err = c.open(claim, challenge, ak, refs[0].root); err != nil {
		return hsm.Proof{}, fmt.Errorf("open the credential: %w", err)
	}
	for _, ref := range refs {
		k, err := c.vouch(ak, ref, challenge.Nonce)
		if err != nil {
			return hsm.Proof{}, err
		}
		proof.Keys = append(proof.Keys, *k)
	}
	return proof, nil
}

// open finds the secret in the credential (Part 1, 24). The secret leaves the
// chip encrypted, in a session salted to the root.
func (c *chip) open(claim hsm.Claim, challenge hsm.Challenge, ak attestationKey, rootName []byte) ([]byte, error) {
	public, err := endorser(claim)
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(public)
	if err != nil {
		return nil, err
	}
	r, err := c.rootNamed(rootName)
	if err != nil {
		return nil, err
	}
	ek, err := c.loadEndorsementKey(kind, public)
	if err != nil {
		return nil, err
	}
	defer ek.flush(c)
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: ak.Handle, Name: ak.Name, Auth: r.receiving()},
		KeyHandle: tpm2.AuthHandle{
			Handle: ek.Handle, Name: ek.Name,
			Auth: tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, byEndorsement, r.salted()),
		},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: challenge.Credential},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: challenge.Secret},
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	return rsp.CertInfo.Buffer, nil
}

// endorser is the endorsement key that a claim was made by.
func endorser(claim hsm.Claim) (public crypto.PublicKey, err error) {
	switch {
	case len(claim.EK) > 0:
		public, err = x509.ParsePKIXPublicKey(claim.EK)
	case len(claim.Endorsement) > 0:
		var leaf *x509.Certificate
		if leaf, err = x509.ParseCertificate(claim.Endorsement[0]); err == nil {
			public = leaf.PublicKey
		}
	default:
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: endorsement key of the claim: %w", hsm.ErrBadReference, err)
	}
	return public, nil
}

// receiving is a one-command session that encrypts the response's first
// parameter.
func (r *root) receiving() tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, r.salted(), tpm2.AESEncryption(128, tpm2.EncryptOut))
}

// byEndorsement satisfies the policy of the endorsement templates: whoever may
// use the endorsement hierarchy, whose password is empty.
func byEndorsement(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: session,
		NonceTPM:      nonce,
	}.Execute(t)
	return endorsementError(err)
}

// vouch has the chip certify how a key was made, and its PIN index with it.
func (c *chip) vouch(ak attestationKey, ref *reference, nonce []byte) (*hsm.KeyProof, error) {
	attest, signature, err := c.certifyCreation(ak, ref, nonce)
	if err != nil {
		return nil, fmt.Errorf("certify a key: %w", err)
	}
	proof := &hsm.KeyProof{Public: tpm2.Marshal(ref.public), Creation: ref.creation, Attest: attest, Signature: signature}
	if ref.index == nil {
		return proof, nil
	}
	if proof.Index, err = c.certifyIndex(ak, ref, nonce); err != nil {
		return nil, fmt.Errorf("certify a PIN index: %w", err)
	}
	return proof, nil
}

// certifyCreation is used and not TPM2_Certify, which takes an authorization
// that a PIN-bound key never gives.
func (c *chip) certifyCreation(ak attestationKey, ref *reference, nonce []byte) (attest, signature []byte, err error) {
	loaded, err := c.load(ref)
	if err != nil {
		return nil, nil, err
	}
	rsp, err := tpm2.CertifyCreation{
		SignHandle:     ak.auth(),
		ObjectHandle:   loaded,
		QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		CreationHash:   tpm2.TPM2BDigest{Buffer: ref.hash},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		CreationTicket: ref.ticket,
	}.Execute(c)
	if err != nil {
		return nil, nil, err
	}
	signature, err = attestSignature(rsp.Signature)
	return rsp.CertifyInfo.Bytes(), signature, err
}

// certifyIndex certifies all of the index's content. The owner may read it
// without a try being spent.
func (c *chip) certifyIndex(ak attestationKey, ref *reference, nonce []byte) (*hsm.IndexProof, error) {
	x := ref.index
	name, err := x.name()
	if err != nil {
		return nil, err
	}
	r, err := c.rootNamed(ref.root)
	if err != nil {
		return nil, err
	}
	var rsp *tpm2.NVCertifyResponse
	err = c.asOwner(r.proof, func(owner tpm2.AuthHandle) (err error) {
		rsp, err = tpm2.NVCertify{
			SignHandle:     ak.auth(),
			AuthHandle:     owner,
			NVIndex:        tpm2.NamedHandle{Handle: x.public.NVIndex, Name: name},
			QualifyingData: tpm2.TPM2BData{Buffer: nonce},
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			Size:           x.public.DataSize,
		}.Execute(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	signature, err := attestSignature(rsp.Signature)
	if err != nil {
		return nil, err
	}
	return &hsm.IndexProof{
		Public: tpm2.Marshal(x.public), Authority: tpm2.Marshal(x.authority),
		Attest: rsp.CertifyInfo.Bytes(), Signature: signature,
	}, nil
}

// attestSignature writes both numbers at full length, as not every chip does, so
// that a signature has one encoding.
func attestSignature(s tpm2.TPMTSignature) ([]byte, error) {
	sig, err := s.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	for _, n := range []*tpm2.TPM2BECCParameter{&sig.SignatureR, &sig.SignatureS} {
		if len(n.Buffer) > 32 {
			return nil, errors.New("signature out of range")
		}
		n.Buffer = append(make([]byte, 32-len(n.Buffer)), n.Buffer...)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, sig),
	}), nil
}

package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// signingKey is the public area of a key that signs SHA-256 digests, was born in
// this chip and cannot leave it. It has no auth value and takes no part in the
// dictionary-attack logic: there is nothing to guess about it.
//
// Without a policy anybody who reaches the chip with the blob may sign. With
// one, only the policy allows signing (userWithAuth is clear) and nothing
// allows administration (adminWithPolicy is set and the policy names no
// command), so TPM2_Certify and TPM2_ObjectChangeAuth are refused for good.
func signingKey(algorithm hsm.Algorithm, policy []byte) tpm2.TPMTPublic {
	area := bareKey(algorithm)
	area.ObjectAttributes.NoDA = true
	area.ObjectAttributes.UserWithAuth = policy == nil
	area.ObjectAttributes.AdminWithPolicy = policy != nil
	area.AuthPolicy.Buffer = policy
	return area
}

// lockoutKey is the public area of a key whose auth value is made from a PIN.
// The chip-wide counter guards it against guesses by whatever way, noDA being
// clear. Its empty policy can never be satisfied, so that adminWithPolicy
// refuses administration as above.
func lockoutKey(algorithm hsm.Algorithm) tpm2.TPMTPublic {
	area := bareKey(algorithm)
	area.ObjectAttributes.UserWithAuth = true
	area.ObjectAttributes.AdminWithPolicy = true
	return area
}

func bareKey(algorithm hsm.Algorithm) tpm2.TPMTPublic {
	area := tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true,
		},
	}
	if algorithm == hsm.RS256 {
		area.Type = tpm2.TPMAlgRSA
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			KeyBits: 2048,
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		})
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
		return area
	}
	area.Parameters = p256(tpm2.TPMTECCScheme{
		Scheme:  tpm2.TPMAlgECDSA,
		Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
	})
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return area
}

// signingScheme is the scheme of a key of that type, as TPM2_Sign wants it.
func signingScheme(kind tpm2.TPMAlgID) tpm2.TPMTSigScheme {
	algorithm := tpm2.TPMAlgECDSA
	if kind == tpm2.TPMAlgRSA {
		algorithm = tpm2.TPMAlgRSASSA
	}
	return tpm2.TPMTSigScheme{
		Scheme:  algorithm,
		Details: tpm2.NewTPMUSigScheme(algorithm, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256}),
	}
}

// authorityArea is the public area of a software key that signs for an index.
func authorityArea(pub *ecdsa.PublicKey) tpm2.TPMTPublic {
	area := tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			SignEncrypt: true, UserWithAuth: true,
		},
		Parameters: p256(tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}),
	}
	raw, _ := pub.Bytes() // 0x04, X, Y; fails for invalid keys only
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]},
		Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
	})
	return area
}

func p256(scheme tpm2.TPMTECCScheme) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		CurveID: tpm2.TPMECCNistP256, Scheme: scheme,
	})
}

// publicKey reads the P-256 or RSA-2048 key of a public area.
func publicKey(area *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	key, err := tpm2.Pub(*area)
	if err != nil {
		return nil, err
	}
	switch pub := key.(type) {
	case *ecdsa.PublicKey:
		if _, err := pub.ECDH(); err == nil && pub.Curve == elliptic.P256() {
			return pub, nil
		}
	case *rsa.PublicKey:
		if pub.N.BitLen() == 2048 {
			return pub, nil
		}
	}
	return nil, errors.New("not a P-256 or RSA-2048 key")
}

type ecdsaSignature struct{ R, S *big.Int }

// encodeSignature writes a TPM's signature the way crypto/ecdsa and crypto/rsa
// do. An RSA signature is verified first: one with an error in it, made from the
// two primes separately as chips do, gives away the key (Boneh, DeMillo, Lipton
// 1997). To verify it costs next to nothing.
func encodeSignature(verifier crypto.PublicKey, digest []byte, s tpm2.TPMTSignature) ([]byte, error) {
	if pub, ok := verifier.(*rsa.PublicKey); ok {
		sig, err := s.Signature.RSASSA()
		if err != nil {
			return nil, fmt.Errorf("signature: %w", err)
		}
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig.Sig.Buffer); err != nil {
			return nil, fmt.Errorf("the TPM's signature: %w", err)
		}
		return sig.Sig.Buffer, nil
	}
	sig, err := s.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return asn1.Marshal(ecdsaSignature{
		new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
}

// softwareSignature signs as a TPM would.
func softwareSignature(key *ecdsa.PrivateKey, digest []byte) (tpm2.TPMTSignature, error) {
	der, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		return tpm2.TPMTSignature{}, err
	}
	var s ecdsaSignature
	if _, err := asn1.Unmarshal(der, &s); err != nil {
		return tpm2.TPMTSignature{}, err
	}
	return tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: s.R.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: s.S.FillBytes(make([]byte, 32))},
		}),
	}, nil
}

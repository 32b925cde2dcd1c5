package tpm

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// signingKey is the public area of a P-256 key that signs SHA-256 digests, was
// born in this chip and cannot leave it. It has no auth value and takes no part
// in the dictionary-attack logic: there is nothing to guess about it.
//
// Without a policy anybody who reaches the chip with the blob may sign. With
// one, only the policy allows signing (userWithAuth is clear) and nothing
// allows administration (adminWithPolicy is set and the policy names no
// command), so TPM2_Certify and TPM2_ObjectChangeAuth are refused for good.
func signingKey(policy []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			SignEncrypt: true, NoDA: true,
			UserWithAuth: policy == nil, AdminWithPolicy: policy != nil,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		Parameters: p256(tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
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

// publicKey reads the P-256 key of a public area.
func publicKey(area *tpm2.TPMTPublic) (*ecdsa.PublicKey, error) {
	key, err := tpm2.Pub(*area)
	if err != nil {
		return nil, err
	}
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok || pub.Curve.Params().BitSize != 256 {
		return nil, errors.New("not a P-256 key")
	}
	return pub, nil
}

type ecdsaSignature struct{ R, S *big.Int }

// derSignature writes a TPM's signature the way crypto/ecdsa does.
func derSignature(s tpm2.TPMTSignature) ([]byte, error) {
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

package protocol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"

	"github.com/go-jose/go-jose/v4"
)

// Keys are the public keys a signature may be checked with, by RFC 7638
// thumbprint: *ecdsa.PublicKey on P-256, or *rsa.PublicKey of 2048 bits.
type Keys map[string]crypto.PublicKey

// NewKeys makes a set. Keys of other kinds are refused.
func NewKeys(pubs ...crypto.PublicKey) (Keys, error) {
	keys := Keys{}
	for _, pub := range pubs {
		kid, err := Thumbprint(pub)
		if err != nil {
			return nil, err
		}
		keys[kid] = pub
	}
	return keys, nil
}

// Thumbprint is the base64url RFC 7638 SHA-256 thumbprint of a key.
func Thumbprint(pub crypto.PublicKey) (string, error) {
	if _, err := keyAlgorithm(pub); err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", errorf(CodeUnknownKey, "the key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// The algorithms of keys.
const (
	ES256 = string(jose.ES256)
	RS256 = string(jose.RS256)
)

// Algorithm is what a key signs with, ES256 or RS256.
func Algorithm(pub crypto.PublicKey) (string, error) {
	alg, err := keyAlgorithm(pub)
	return string(alg), err
}

// keyAlgorithm is what a key signs with: ES256, or RS256 for RSA of exactly
// 2048 bits, which is what every TPM can hold.
func keyAlgorithm(pub crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
	case *rsa.PublicKey:
		if pub.N.BitLen() == 2048 && pub.E == 65537 {
			return jose.RS256, nil
		}
	}
	return "", errorf(CodeUnknownKey, "the key is neither on P-256 nor RSA of 2048 bits")
}

// algorithmFor is the algorithm of a key for a kind of message. An approval key
// alone may be RSA, so RS256 is for what approval keys sign: no message of the
// server is signed with it.
func algorithmFor(pub crypto.PublicKey, typ string) (jose.SignatureAlgorithm, error) {
	alg, err := keyAlgorithm(pub)
	if err == nil && alg != jose.ES256 && typ != typDecision && typ != typSuccession {
		return "", errorf(CodeBadJWS, "%s does not sign such messages", alg)
	}
	return alg, err
}

// checkRole refuses an RSA key in another role than that of approval.
func checkRole(pub crypto.PublicKey, role Role) error {
	alg, err := keyAlgorithm(pub)
	if err == nil && alg != jose.ES256 && role != RoleApproval {
		return errorf(CodeBadCert, "the key of the %s role is not on P-256", role)
	}
	return err
}

package protocol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// JWKS encodes a key set as RFC 7517 says, for /.well-known/jwks.json.
func (k Keys) JWKS() ([]byte, error) {
	var set jose.JSONWebKeySet
	for kid, pub := range k {
		alg, err := keyAlgorithm(pub)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: kid, Use: "sig", Algorithm: string(alg)})
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return slices.Compare([]byte(a.KeyID), []byte(b.KeyID)) })
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("protocol: %w", err)
	}
	return b, nil
}

// jwk holds the members of RFC 7517 section 4 and RFC 7518 section 6.2 that
// decide what a key is and what it is for.
type jwk struct {
	Kty string          `json:"kty"`
	Crv string          `json:"crv"`
	X   string          `json:"x"`
	Y   string          `json:"y"`
	D   json.RawMessage `json:"d"`
	Kid string          `json:"kid"`
	Use string          `json:"use"`
	Alg string          `json:"alg"`
	Ops []string        `json:"key_ops"`
}

// ParseJWKS reads a key set. A key whose kid is not its thumbprint, that is
// not P-256, or that is not for verifying ES256 signatures, spoils the whole
// set; so does a private key, a member given twice, or a set without keys.
// Members that say neither are ignored (RFC 7517 section 4), where their names
// are lower case.
func ParseJWKS(data []byte) (Keys, error) {
	if len(data) > MaxMessage {
		return nil, errorf(CodeTooLarge, "the key set is over %d bytes", MaxMessage)
	}
	if err := checkDocument(data, cleanText); err != nil {
		return nil, err
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil || len(set.Keys) == 0 {
		return nil, errorf(CodeUnknownKey, "the key set is malformed or empty")
	}
	keys := Keys{}
	for _, k := range set.Keys {
		pub, err := k.verifier()
		if err != nil {
			return nil, err
		}
		keys[k.Kid] = pub
	}
	return keys, nil
}

// verifier is the key, where it is one to verify ES256 signatures with.
func (k jwk) verifier() (*ecdsa.PublicKey, error) {
	if k.Use != "" && k.Use != "sig" || k.Alg != "" && k.Alg != string(jose.ES256) ||
		k.Ops != nil && !slices.Contains(k.Ops, "verify") || k.D != nil {
		return nil, errorf(CodeUnknownKey, "the key set holds a key that is not for verifying ES256 signatures")
	}
	x, errX := base64.RawURLEncoding.Strict().DecodeString(k.X)
	y, errY := base64.RawURLEncoding.Strict().DecodeString(k.Y)
	if k.Kty != "EC" || k.Crv != "P-256" || errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return nil, errorf(CodeUnknownKey, "the key set holds a key that is not on P-256")
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errorf(CodeUnknownKey, "the key set holds a point that is not on P-256")
	}
	kid, err := Thumbprint(pub)
	if err != nil {
		return nil, err
	}
	if kid != k.Kid {
		return nil, errorf(CodeUnknownKey, "the key set holds a key whose kid is not its thumbprint")
	}
	return pub, nil
}

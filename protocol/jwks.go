package protocol

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// JWKS encodes a key set as RFC 7517 says, for /.well-known/jwks.json.
func (k Keys) JWKS() ([]byte, error) {
	var set jose.JSONWebKeySet
	for kid, pub := range k {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: kid, Use: "sig", Algorithm: string(jose.ES256)})
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return slices.Compare([]byte(a.KeyID), []byte(b.KeyID)) })
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("protocol: %w", err)
	}
	return b, nil
}

// ParseJWKS reads a key set. A key whose kid is not its thumbprint, that is
// not P-256, or that is not for verifying signatures, spoils the whole set.
func ParseJWKS(data []byte) (Keys, error) {
	if len(data) > MaxMessage {
		return nil, errorf(CodeTooLarge, "the key set is over %d bytes", MaxMessage)
	}
	var raw struct {
		Keys []struct {
			Ops []string `json:"key_ops"`
		} `json:"keys"`
	}
	var set jose.JSONWebKeySet
	if json.Unmarshal(data, &raw) != nil || json.Unmarshal(data, &set) != nil || len(set.Keys) != len(raw.Keys) {
		return nil, errorf(CodeUnknownKey, "the key set is malformed")
	}
	keys := Keys{}
	for i, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" || len(raw.Keys[i].Ops) > 0 && !slices.Contains(raw.Keys[i].Ops, "verify") {
			return nil, errorf(CodeUnknownKey, "the key set holds a key that is not for verifying")
		}
		kid, err := Thumbprint(k.Key)
		if err != nil {
			return nil, err
		}
		if kid != k.KeyID {
			return nil, errorf(CodeUnknownKey, "the key set holds a key whose kid is not its thumbprint")
		}
		keys[kid] = k.Key.(*ecdsa.PublicKey)
	}
	return keys, nil
}

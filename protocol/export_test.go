package protocol

import "github.com/go-jose/go-jose/v4"

// VerifySignature is the layer below the profile's header: one compact JWS,
// one key.
func VerifySignature(compact string, key *jose.JSONWebKey) ([]byte, error) {
	return verifySignature(compact, key, jose.ES256)
}

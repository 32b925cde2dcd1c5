package protocol

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
)

// header is the whole protected header of the profile. A member beyond these
// three (jwk, jku, x5u, crit, b64, zip, …) is unknown and so refused.
type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

// sign makes the compact JWS of claims with the algorithm of the key, unless
// escapes make it too large for anybody to accept. The signer may be hardware.
func sign(key crypto.Signer, typ string, claims any) (string, error) {
	kid, err := Thumbprint(key.Public())
	if err != nil {
		return "", err
	}
	alg, err := algorithmFor(key.Public(), typ)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("protocol: %w", err)
	}
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(key)}, opts)
	if err != nil {
		return "", fmt.Errorf("protocol: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("protocol: sign: %w", err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("protocol: %w", err)
	}
	if len(compact) > MaxMessage {
		return "", errorf(CodeTooLarge, "the JWS would be over %d bytes", MaxMessage)
	}
	return compact, nil
}

// verify checks a compact JWS against the profile and keys, and decodes its
// claims into out.
func verify(compact, typ string, keys Keys, out any) error {
	if len(compact) > MaxMessage {
		return errorf(CodeTooLarge, "the JWS is over %d bytes", MaxMessage)
	}
	h, err := parseHeader(compact)
	if err != nil {
		return err
	}
	if h.Typ != typ {
		return errorf(CodeBadJWS, "the JWS is not of typ %s", typ)
	}
	key, ok := keys[h.Kid]
	if !ok {
		return errorf(CodeUnknownKey, "the JWS names a key that is not known here")
	}
	alg, err := algorithmFor(key, typ)
	if err != nil {
		return err
	}
	if h.Alg != string(alg) {
		return errorf(CodeBadJWS, "the JWS algorithm is not that of its key")
	}
	payload, err := verifySignature(compact, &jose.JSONWebKey{Key: key}, alg)
	if err != nil {
		return err
	}
	return DecodeStrict(payload, out)
}

// parseHeader demands three strict base64url parts and exactly the profile's
// header members.
func parseHeader(compact string) (header, error) {
	if err := checkCompact(compact); err != nil {
		return header{}, err
	}
	first, _, _ := strings.Cut(compact, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil {
		return header{}, errorf(CodeBadJWS, "the JWS is not base64url")
	}
	var h header
	if err := DecodeStrict(raw, &h); err != nil {
		return header{}, errorf(CodeBadJWS, "the JWS header is not the profile's: alg, typ and kid")
	}
	if h.Alg != string(jose.ES256) && h.Alg != string(jose.RS256) {
		return header{}, errorf(CodeBadJWS, "the JWS algorithm is not of the profile")
	}
	return h, nil
}

// checkCompact refuses what lenient decoders accept: line breaks, padding,
// trailing bits, the wrong number of parts.
func checkCompact(compact string) error {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return errorf(CodeBadJWS, "a JWS has three parts")
	}
	for _, p := range parts {
		if strings.ContainsAny(p, "\r\n") {
			return errorf(CodeBadJWS, "the JWS is not base64url")
		}
		if _, err := base64.RawURLEncoding.Strict().DecodeString(p); err != nil {
			return errorf(CodeBadJWS, "the JWS is not base64url")
		}
	}
	return nil
}

// verifySignature checks one compact JWS of one algorithm with one key and
// returns the payload. A key that says it is for something else is refused (RFC 7517
// sections 4.2 to 4.4).
func verifySignature(compact string, key *jose.JSONWebKey, alg jose.SignatureAlgorithm) ([]byte, error) {
	if err := checkCompact(compact); err != nil {
		return nil, err
	}
	if key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != string(alg) {
		return nil, errorf(CodeUnknownKey, "the key is not for %s signatures", alg)
	}
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return nil, errorf(CodeBadJWS, "the JWS is malformed")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, errorf(CodeBadSignature, "the signature does not verify")
	}
	return payload, nil
}

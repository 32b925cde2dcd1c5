package protocol_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"countersign/protocol"
)

func TestJWKSRoundTrip(t *testing.T) {
	a, b := newTestKey("issuer"), newTestKey("retired issuer")
	set := must(protocol.NewKeys(a.Public(), b.Public()))
	data := must(set.JWKS())
	got, err := protocol.ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || must(protocol.Thumbprint(got[a.kid()])) != a.kid() || must(protocol.Thumbprint(got[b.kid()])) != b.kid() {
		t.Errorf("got %v from %s", got, data)
	}
	if again := must(got.JWKS()); string(again) != string(data) {
		t.Errorf("the encoding is not stable: %s, then %s", data, again)
	}
	if strings.Contains(string(data), `"d"`) {
		t.Error("a private member was published")
	}
}

func TestParseJWKS(t *testing.T) {
	key := newTestKey("issuer")
	point := must(key.PublicKey.Bytes())
	x, y := b64(string(point[1:33])), b64(string(point[33:]))
	jwk := func(extra string) string {
		return `{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + y + `","kid":"` + key.kid() + `"` + extra + `}`
	}
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	good := set(jwk(""))
	for name, tt := range map[string]struct {
		in string
		ok bool
	}{
		"bare":                    {good, true},
		"for signatures":          {set(jwk(`,"use":"sig","alg":"ES256"`)), true},
		"to verify":               {set(jwk(`,"key_ops":["verify"]`)), true},
		"to sign and verify":      {set(jwk(`,"key_ops":["sign","verify"]`)), true},
		"unknown member":          {set(jwk(`,"exp":1`)), true}, // RFC 7517 section 4: ignored
		"no set":                  {`{}`, false},
		"empty set":               {set(), false},
		"null":                    {`{"keys":null}`, false},
		"not JSON":                {`keys`, false},
		"something follows":       {good + "x", false},
		"a string as key":         {set(`"x"`), false},
		"for encryption":          {set(jwk(`,"use":"enc"`)), false},
		"use null":                {set(jwk(`,"use":null`)), false},
		"to sign only":            {set(jwk(`,"key_ops":["sign"]`)), false},
		"to encrypt":              {set(jwk(`,"key_ops":["encrypt"]`)), false},
		"no operation":            {set(jwk(`,"key_ops":[]`)), false},
		"alg of another curve":    {set(jwk(`,"alg":"ES384"`)), false},
		"alg of key agreement":    {set(jwk(`,"alg":"ECDH-ES"`)), false},
		"use twice":               {set(jwk(`,"use":"enc","use":"sig"`)), false},
		"key_ops twice":           {set(jwk(`,"key_ops":["sign"],"key_ops":["verify"]`)), false},
		"key_ops in other case":   {set(jwk(`,"key_ops":["encrypt"],"KEY_OPS":["verify"]`)), false},
		"keys in other case":      {`{"Keys":[` + jwk("") + `]}`, false},
		"keys twice":              {`{"keys":[` + jwk(`,"use":"enc"`) + `],"keys":[` + jwk("") + `]}`, false},
		"kid of another key":      {strings.Replace(good, key.kid(), newTestKey("device").kid(), 1), false},
		"no kid":                  {strings.Replace(good, `,"kid":"`+key.kid()+`"`, "", 1), false},
		"P-384":                   {strings.Replace(good, "P-256", "P-384", 1), false},
		"not on the curve":        {strings.Replace(good, y, x, 1), false},
		"padded coordinate":       {strings.Replace(good, x, x+"=", 1), false},
		"trailing bits":           {strings.Replace(good, x, x[:42]+nextLetter(x[42]), 1), false},
		"short coordinate":        {strings.Replace(good, x, x[:40], 1), false},
		"coordinate over field":   {strings.Replace(good, x, base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 32))), 1), false},
		"RSA":                     {set(`{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"x"}`), false},
		"symmetric":               {set(`{"kty":"oct","k":"AQAB","kid":"x"}`), false},
		"private":                 {set(jwk(`,"d":"` + b64(strings.Repeat("\x01", 32)) + `"`)), false},
		"one bad among good ones": {set(jwk(""), strings.Replace(jwk(""), "P-256", "P-384", 1)), false},
		"over 64 KiB":             {good + strings.Repeat(" ", 64<<10), false},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := protocol.ParseJWKS([]byte(tt.in))
			if (err == nil) != tt.ok {
				t.Errorf("accepted: %v (%v)", err == nil, err)
			}
			if err != nil && keys != nil {
				t.Error("refused and yet returned keys")
			}
		})
	}
}

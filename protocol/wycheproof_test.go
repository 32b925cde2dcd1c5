package protocol_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
)

// wycheproof is the part of a Wycheproof file that the tests below read.
type wycheproof struct {
	Groups []struct {
		Public    map[string]any          `json:"public"`
		Private   map[string]any          `json:"private"`
		PublicKey struct{ Wx, Wy string } `json:"publicKey"`
		Tests     []struct {
			ID      int    `json:"tcId"`
			JWS     string `json:"jws"`
			Msg     string `json:"msg"`
			Sig     string `json:"sig"`
			Comment string `json:"comment"`
			Result  string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func readWycheproof(tb testing.TB, name string) wycheproof {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "wycheproof", name))
	if err != nil {
		tb.Fatal(err)
	}
	var w wycheproof
	if err := json.Unmarshal(data, &w); err != nil {
		tb.Fatal(err)
	}
	return w
}

// verifier is the key that a verifier is given: symmetric keys have no public
// half.
func verifier(public, private map[string]any) map[string]any {
	if public != nil {
		return public
	}
	return private
}

// keySet makes a key set of some keys. Our kid is the thumbprint, so that of
// the vectors is replaced, and nothing else.
func keySet(keys ...map[string]any) []byte {
	set := map[string][]map[string]any{"keys": nil}
	for _, key := range keys {
		key = maps.Clone(key)
		sum := sha256.Sum256([]byte(`{"crv":"` + text(key["crv"]) + `","kty":"EC","x":"` + text(key["x"]) + `","y":"` + text(key["y"]) + `"}`))
		key["kid"] = base64.RawURLEncoding.EncodeToString(sum[:])
		set["keys"] = append(set["keys"], key)
	}
	return []byte(mustJSON(set))
}

func text(v any) string { s, _ := v.(string); return s }

// tally counts vectors by what the table says and what we say.
type tally map[string]int

func (c tally) check(tb testing.TB, want tally) {
	tb.Helper()
	if diff := cmp.Diff(want, c); diff != "" {
		tb.Errorf("the vectors that ran are not those expected: %s", diff)
	}
}

// TestWycheproofJWS runs every JWS of the table below the profile: the vectors
// have kids and typs of their own.
//
// A vector is within the profile where its key is an EC key on P-256. For
// those our verdict must be the table's, "valid" or "invalid". All others,
// whatever the table says of them, must be refused twice: the key by
// ParseJWKS, the JWS by the verifier that was given that very key.
func TestWycheproofJWS(t *testing.T) {
	got := tally{}
	for _, g := range readWycheproof(t, "json_web_signature_test.json").Groups {
		key := verifier(g.Public, g.Private)
		within := key["kty"] == "EC" && key["crv"] == "P-256"
		keys, setErr := protocol.ParseJWKS(keySet(key))
		if !within && setErr == nil {
			t.Errorf("a key set with a %v key is accepted", key["kty"])
		}
		for _, v := range g.Tests {
			accepted := false
			if within {
				got["within, "+v.Result]++
				for _, pub := range keys {
					payload, err := protocol.VerifySignature(v.JWS, &jose.JSONWebKey{Key: pub})
					accepted = err == nil && len(payload) > 0
				}
			} else {
				got["outside, "+v.Result]++
				accepted = acceptsAnyKey(t, v.JWS, key)
			}
			if want := within && v.Result == "valid"; accepted != want {
				t.Errorf("%d %s: accepted %v, want %v", v.ID, v.Comment, accepted, want)
			}
		}
	}
	got.check(t, tally{"within, valid": 2, "within, invalid": 39, "outside, valid": 44, "outside, invalid": 316})
}

// acceptsAnyKey gives the verifier a key that no key set of ours would hold.
func acceptsAnyKey(tb testing.TB, compact string, jwk map[string]any) bool {
	tb.Helper()
	jwk = maps.Clone(jwk)
	delete(jwk, "alg") // the verifier shall judge the JWS, not stop at this
	var key jose.JSONWebKey
	if err := json.Unmarshal([]byte(mustJSON(jwk)), &key); err != nil {
		tb.Fatal(err)
	}
	_, err := protocol.VerifySignature(compact, &key)
	return err == nil
}

// TestWycheproofKeys runs the table of keys. Each of its sets holds a key that
// is outside the profile (not EC on P-256, not for ES256, not for signatures,
// not a point), so each must be refused, whatever the table says. The control
// is the same EC key with the members the profile wants.
func TestWycheproofKeys(t *testing.T) {
	got := tally{}
	for _, g := range readWycheproof(t, "json_web_key_test.json").Groups {
		var keys []map[string]any
		for _, key := range verifier(g.Public, g.Private)["keys"].([]any) {
			keys = append(keys, key.(map[string]any))
		}
		_, err := protocol.ParseJWKS(keySet(keys...))
		for _, v := range g.Tests {
			got[v.Result]++
			if err == nil {
				t.Errorf("%d %s: the key set is accepted", v.ID, v.Comment)
			}
		}
		if key := keys[0]; g.Public != nil && key["x"] != nil {
			got["EC"]++
			key["kty"], key["crv"], key["alg"], key["use"] = "EC", "P-256", "ES256", "sig"
			if _, err := protocol.ParseJWKS(keySet(key)); err != nil {
				got["EC, no point"]++
			}
		}
	}
	got.check(t, tally{"valid": 5, "invalid": 21, "EC": 6, "EC, no point": 1})
}

// TestWycheproofP1363 runs the table of ECDSA P-256 SHA-256 signatures in the
// form that JWS uses. Our verdict must be the table's.
//
// What a JWS signs always has a header, so the table's messages cannot be
// signed as they are. Instead the key moves: for a hash e and signature (r, s)
// verifying computes R = e/s G + r/s Q. With another hash e' and the key
// Q' = Q + (e-e')/r G that is the same R, and so the same verdict.
func TestWycheproofP1363(t *testing.T) {
	input := b64(`{"alg":"ES256"}`) + "." + b64("moved")
	got := tally{}
	for _, g := range readWycheproof(t, "ecdsa_secp256r1_sha256_p1363_test.json").Groups {
		for _, v := range g.Tests {
			sig := must(hex.DecodeString(v.Sig))
			pub := moved(hexInt(g.PublicKey.Wx), hexInt(g.PublicKey.Wy), must(hex.DecodeString(v.Msg)), []byte(input), sig)
			_, err := protocol.VerifySignature(input+"."+b64(string(sig)), &jose.JSONWebKey{Key: pub})
			got[v.Result]++
			if accepted := err == nil; accepted != (v.Result == "valid") {
				t.Errorf("%d %s: accepted %v, the table says %s", v.ID, v.Comment, accepted, v.Result)
			}
		}
	}
	got.check(t, tally{"valid": 173, "invalid": 89})
}

func hexInt(s string) *big.Int { return new(big.Int).SetBytes(must(hex.DecodeString(s))) }

// moved is the key for which sig over to is what it is for x, y over from. A
// signature of another size, or with an r outside of [1, n), has no such key
// and needs none: it is invalid for every key.
func moved(x, y *big.Int, from, to, sig []byte) *ecdsa.PublicKey {
	curve := elliptic.P256()
	n := curve.Params().N
	r := new(big.Int).SetBytes(sig[:min(32, len(sig))])
	if len(sig) == 64 && r.Sign() > 0 && r.Cmp(n) < 0 {
		e, e2 := sha256.Sum256(from), sha256.Sum256(to)
		k := new(big.Int).Sub(new(big.Int).SetBytes(e[:]), new(big.Int).SetBytes(e2[:]))
		k.Mul(k, new(big.Int).ModInverse(r, n)).Mod(k, n)
		kx, ky := curve.ScalarBaseMult(k.FillBytes(make([]byte, 32))) //nolint:staticcheck // nothing else adds points
		x, y = curve.Add(x, y, kx, ky)                                //nolint:staticcheck // nothing else adds points
	}
	point := slices.Concat([]byte{4}, x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32)))
	return must(ecdsa.ParseUncompressedPublicKey(curve, point))
}

// TestWycheproofDER runs the table of DER signatures, over its own messages,
// through the check that CSRs and certificate chains rest on. Our verdict must
// be the table's.
func TestWycheproofDER(t *testing.T) {
	got := tally{}
	for _, g := range readWycheproof(t, "ecdsa_secp256r1_sha256_test.json").Groups {
		x, y := hexInt(g.PublicKey.Wx), hexInt(g.PublicKey.Wy)
		cert := &x509.Certificate{PublicKeyAlgorithm: x509.ECDSA, PublicKey: moved(x, y, nil, nil, nil)}
		for _, v := range g.Tests {
			err := cert.CheckSignature(x509.ECDSAWithSHA256, must(hex.DecodeString(v.Msg)), must(hex.DecodeString(v.Sig)))
			got[v.Result]++
			if accepted := err == nil; accepted != (v.Result == "valid") {
				t.Errorf("%d %s: accepted %v, the table says %s", v.ID, v.Comment, accepted, v.Result)
			}
		}
	}
	got.check(t, tally{"valid": 174, "invalid": 310})
}

// TestWycheproofThroughTheProfile has the profile refuse every JWS of the
// table, the valid ones too, although it is given their keys under their kids:
// not one has a typ.
func TestWycheproofThroughTheProfile(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "json_web_signature_test.json").Groups {
		key := verifier(g.Public, g.Private)
		keys, _ := protocol.ParseJWKS(keySet(key)) // none for what is outside
		named := protocol.Keys{}
		for _, pub := range keys {
			named[text(key["kid"])] = pub
		}
		for _, v := range g.Tests {
			ran++
			if _, err := protocol.ParseRequest(v.JWS, named); err == nil {
				t.Errorf("%d %s is a request", v.ID, v.Comment)
			}
		}
	}
	if ran != 401 {
		t.Errorf("%d vectors ran, want 401", ran)
	}
}

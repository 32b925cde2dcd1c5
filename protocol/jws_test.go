package protocol_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"

	"countersign/protocol"
)

func TestProfileRoundTrip(t *testing.T) {
	key := newTestKey("issuer")
	compact, err := protocol.SignRequest(key, request())
	if err != nil {
		t.Fatal(err)
	}
	got, err := protocol.ParseRequest(compact, key.keys(t))
	if err != nil {
		t.Fatal(err)
	}
	if mustJSON(got) != mustJSON(request()) {
		t.Errorf("parsed %+v", got)
	}
	if kid, err := protocol.KeyID(compact); err != nil || kid != key.kid() {
		t.Errorf("KeyID = %q, %v", kid, err)
	}
}

func TestProfileHeader(t *testing.T) {
	key, other := newTestKey("issuer"), newTestKey("device")
	claims := mustJSON(request())
	kid := `"kid":"` + key.kid() + `"`
	jwk := string(must(key.keys(t).JWKS()))
	jwk = strings.TrimSuffix(strings.TrimPrefix(jwk, `{"keys":[`), `]}`)
	with := func(member string) string {
		return `{"alg":"ES256",` + kid + `,"typ":"` + typRequest + `",` + member + `}`
	}
	for name, tt := range map[string]struct{ header, code string }{
		"the profile":          {key.header(typRequest), ""},
		"other order":          {`{"typ":"` + typRequest + `",` + kid + `,"alg":"ES256"}`, ""},
		"jwk":                  {with(`"jwk":` + jwk), protocol.CodeBadJWS},
		"jku":                  {with(`"jku":"https://auth.example/jwks"`), protocol.CodeBadJWS},
		"x5u":                  {with(`"x5u":"https://auth.example/x"`), protocol.CodeBadJWS},
		"x5c":                  {with(`"x5c":[]`), protocol.CodeBadJWS},
		"x5t":                  {with(`"x5t":"AA"`), protocol.CodeBadJWS},
		"x5t#S256":             {with(`"x5t#S256":"AA"`), protocol.CodeBadJWS},
		"crit":                 {with(`"crit":["b64"],"b64":true`), protocol.CodeBadJWS},
		"empty crit":           {with(`"crit":[]`), protocol.CodeBadJWS},
		"b64":                  {with(`"b64":true`), protocol.CodeBadJWS},
		"zip":                  {with(`"zip":"DEF"`), protocol.CodeBadJWS},
		"cty":                  {with(`"cty":"JWT"`), protocol.CodeBadJWS},
		"epk":                  {with(`"epk":{}`), protocol.CodeBadJWS},
		"unknown":              {with(`"x":1`), protocol.CodeBadJWS},
		"alg twice":            {with(`"alg":"ES256"`), protocol.CodeBadJWS},
		"kid twice":            {with(kid), protocol.CodeBadJWS},
		"alg twice, escaped":   {with(`"\u0061lg":"ES256"`), protocol.CodeBadJWS},
		"other case":           {with(`"Alg":"none"`), protocol.CodeBadJWS},
		"null":                 {with(`"x5u":null`), protocol.CodeBadJWS},
		"nothing":              {`{}`, protocol.CodeBadJWS},
		"not an object":        {`[]`, protocol.CodeBadJWS},
		"not JSON":             {`alg`, protocol.CodeBadJWS},
		"two documents":        {key.header(typRequest) + `{}`, protocol.CodeBadJWS},
		"alg none":             {`{"alg":"none",` + kid + `,"typ":"` + typRequest + `"}`, protocol.CodeBadJWS},
		"alg in other case":    {`{"alg":"es256",` + kid + `,"typ":"` + typRequest + `"}`, protocol.CodeBadJWS},
		"alg ES384":            {`{"alg":"ES384",` + kid + `,"typ":"` + typRequest + `"}`, protocol.CodeBadJWS},
		"alg missing":          {`{` + kid + `,"typ":"` + typRequest + `"}`, protocol.CodeBadJWS},
		"alg of another kind":  {`{"alg":["ES256"],` + kid + `,"typ":"` + typRequest + `"}`, protocol.CodeBadJWS},
		"typ missing":          {`{"alg":"ES256",` + kid + `}`, protocol.CodeBadJWS},
		"typ JWT":              {key.header("JWT"), protocol.CodeBadJWS},
		"typ of a decision":    {key.header(typDecision), protocol.CodeBadJWS},
		"typ in other case":    {key.header("Approval-Request+JWT"), protocol.CodeBadJWS},
		"typ with application": {key.header("application/" + typRequest), protocol.CodeBadJWS},
		"kid missing":          {`{"alg":"ES256","typ":"` + typRequest + `"}`, protocol.CodeUnknownKey},
		"kid unknown":          {other.header(typRequest), protocol.CodeUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseRequest(key.jws(tt.header, claims), key.keys(t))
			wantCode(t, err, tt.code)
		})
	}
}

func TestProfileOtherAlgorithms(t *testing.T) {
	key := newTestKey("issuer")
	claims := mustJSON(request())
	header := func(alg string) string {
		return `{"alg":"` + alg + `","kid":"` + key.kid() + `","typ":"` + typRequest + `"}`
	}
	input := func(alg string) string { return b64(header(alg)) + "." + b64(claims) }
	mac := hmac.New(sha256.New, must(key.PublicKey.Bytes()))
	mac.Write([]byte(input("HS256")))
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	digest := sha256.Sum256([]byte(input("RS256")))
	pkcs := must(rsa.SignPKCS1v15(nil, rsaKey, 5, digest[:]))
	for name, compact := range map[string]string{
		"none":                  input("none") + ".",
		"none with a signature": input("none") + "." + b64("x"),
		"public key as secret":  input("HS256") + "." + b64(string(mac.Sum(nil))),
		"RSA":                   input("RS256") + "." + b64(string(pkcs)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseRequest(compact, key.keys(t))
			wantCode(t, err, protocol.CodeBadJWS)
			if name == "RSA" {
				return // of the profile, for decisions
			}
			_, err = protocol.KeyID(compact)
			wantCode(t, err, protocol.CodeBadJWS)
		})
	}
}

func TestProfileEncoding(t *testing.T) {
	key := newTestKey("issuer")
	compact := must(protocol.SignRequest(key, request()))
	h, rest, _ := strings.Cut(compact, ".")
	p, s, _ := strings.Cut(rest, ".")
	for name, bad := range map[string]string{
		"empty": "", "one part": h, "two parts": h + "." + p, "four parts": compact + "." + s, "trailing dot": compact + ".",
		"empty header": "." + p + "." + s, "empty payload": h + ".." + s, "empty signature": h + "." + p + ".",
		"line feed in header": h[:4] + "\n" + h[4:] + "." + p + "." + s, "carriage return in payload": h + "." + p[:8] + "\r" + p[8:] + "." + s,
		"line break in signature": h + "." + p + "." + s[:9] + "\r\n" + s[9:], "trailing line feed": compact + "\n",
		"leading space": " " + compact, "padding": compact + "==", "padded header": h + "=." + p + "." + s,
		"standard alphabet": h + "." + p + "." + strings.Repeat("+/", 43), "trailing bits": compact[:len(compact)-1] + nextLetter(compact[len(compact)-1]),
		"NUL": compact + "\x00", "JSON serialization": `{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseRequest(bad, key.keys(t))
			wantCode(t, err, protocol.CodeBadJWS)
			_, err = protocol.KeyID(bad)
			wantCode(t, err, protocol.CodeBadJWS)
		})
	}
	_, err := protocol.ParseRequest(h+"."+strings.Repeat("A", 64<<10)+"."+s, key.keys(t))
	wantCode(t, err, protocol.CodeTooLarge)
	_, err = protocol.KeyID(strings.Repeat("A", 64<<10+1))
	wantCode(t, err, protocol.CodeTooLarge)
}

// nextLetter changes only the bits that the last letter of a 64-byte
// signature's base64url has to spare.
func nextLetter(c byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(letters[strings.IndexByte(letters, c)+1])
}

func TestProfileSignature(t *testing.T) {
	key, other := newTestKey("issuer"), newTestKey("device")
	compact := must(protocol.SignRequest(key, request()))
	cut := strings.LastIndex(compact, ".") + 1
	foreign := other.jws(key.header(typRequest), mustJSON(request()))
	changed := request()
	changed.Message = "Pay 950.00 EUR to Zoë Müller?"
	h, _, _ := strings.Cut(compact, ".")
	for name, bad := range map[string]string{
		"all zero": compact[:cut] + strings.Repeat("A", 86), "one byte short": compact[:cut] + b64(strings.Repeat("x", 63)),
		"one byte long": compact[:cut] + b64(strings.Repeat("x", 65)), "another key's": foreign,
		"other claims": h + "." + b64(mustJSON(changed)) + compact[cut-1:],
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseRequest(bad, key.keys(t))
			wantCode(t, err, protocol.CodeBadSignature)
		})
	}
}

func TestProfileClaims(t *testing.T) {
	key := newTestKey("issuer")
	claims := mustJSON(request())
	for name, tt := range map[string]struct{ payload, code string }{
		"unknown member":    {strings.Replace(claims, `{`, `{"note":"x",`, 1), protocol.CodeBadMessage},
		"jti twice":         {strings.Replace(claims, `{`, `{"jti":"txn-0",`, 1), protocol.CodeBadMessage},
		"deep member twice": {strings.Replace(claims, `"name":`, `"name":"x","name":`, 1), protocol.CodeBadMessage},
		"other case":        {strings.Replace(claims, `"message"`, `"Message"`, 1), protocol.CodeBadMessage},
		"second spelling":   {strings.Replace(claims, `{`, `{"MESSAGE":"x",`, 1), protocol.CodeBadMessage},
		"iat a fraction":    {strings.Replace(claims, `"iat":1790000000`, `"iat":1790000000.5`, 1), protocol.CodeBadMessage},
		"class a number":    {strings.Replace(claims, `"class":"C2"`, `"class":3`, 1), protocol.CodeBadMessage},
		"class unknown":     {strings.Replace(claims, `"class":"C2"`, `"class":"C4"`, 1), protocol.CodeBadMessage},
		"class lower case":  {strings.Replace(claims, `"class":"C2"`, `"class":"c2"`, 1), protocol.CodeBadMessage},
		"null context":      {strings.Replace(claims, `{`, `{"context":null,`, 1), protocol.CodeBadMessage},
		"not JSON":          {"foo", protocol.CodeBadMessage},
		"lone surrogate":    {strings.Replace(claims, "Lyon", `\ud800`, 1), protocol.CodeBadText},
		"bidi":              {strings.Replace(claims, "Lyon", "\u202e", 1), protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseRequest(key.jws(key.header(typRequest), tt.payload), key.keys(t))
			wantCode(t, err, tt.code)
		})
	}
}

func TestSignRefusesWhatNobodyCanRead(t *testing.T) {
	r := request()
	r.SigningData = strings.Repeat(`<`, 16<<10)
	compact, err := protocol.SignRequest(newTestKey("issuer"), r)
	if wantCode(t, err, protocol.CodeTooLarge); err == nil {
		t.Errorf("signed %d bytes", len(compact))
	}
}

func TestKeysOfOtherKinds(t *testing.T) {
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for _, pub := range []any{p384.Public(), nil, ecdsa.PublicKey{}} {
		_, err := protocol.NewKeys(pub)
		wantCode(t, err, protocol.CodeUnknownKey)
		_, err = protocol.ConfirmationCode(newTestKey("device").Public(), pub)
		wantCode(t, err, protocol.CodeUnknownKey)
	}
	if _, err := protocol.SignRequest(p384, request()); err == nil {
		t.Error("signed with P-384")
	}
}

func TestSignRefusesInvalid(t *testing.T) {
	key := newTestKey("issuer")
	_, err := protocol.SignRequest(key, &protocol.Request{})
	wantCode(t, err, protocol.CodeBadMessage)
	_, err = protocol.SignDecision(key, &protocol.Decision{})
	wantCode(t, err, protocol.CodeBadMessage)
	_, err = protocol.SignReceipt(key, &protocol.Receipt{})
	wantCode(t, err, protocol.CodeBadMessage)
	_, err = protocol.SignRejection(key, &protocol.Rejection{})
	wantCode(t, err, protocol.CodeBadMessage)
}

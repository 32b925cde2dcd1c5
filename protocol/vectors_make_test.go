package protocol_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"strings"

	"countersign/internal/secret"
	"countersign/protocol"
)

// vectors is testdata/vectors.json.
type vectors struct {
	Comment      []string             `json:"comment"`
	Keys         map[string]keyVector `json:"keys"`
	Messages     []messageVector      `json:"messages"`
	Displays     []displayVector      `json:"displays"`
	Confirmation confirmationVector   `json:"confirmation"`
	EnrollURIs   []enrollVector       `json:"enroll_uris"`
	KeyInfo      []keyInfoVector      `json:"key_info"`
	Invalid      []invalidVector      `json:"invalid"`
}

type keyVector struct {
	JWK      json.RawMessage `json:"jwk"`
	TestOnly string          `json:"test_only_private_hex"`
}

type messageVector struct {
	Name    string          `json:"name"`
	Typ     string          `json:"typ"`
	Key     string          `json:"key"`
	About   string          `json:"about,omitempty"`
	Claims  json.RawMessage `json:"claims"`
	Compact string          `json:"compact"`
	Hash    string          `json:"hash"`
}

type displayVector struct {
	Request string   `json:"request"`
	Version int      `json:"display_v"`
	Lang    string   `json:"lang"`
	TZ      string   `json:"tz"`
	Lines   []string `json:"lines"`
	Hash    string   `json:"hash"`
}

type confirmationVector struct {
	Device   string `json:"device"`
	Approval string `json:"approval"`
	Code     string `json:"code"`
}

type enrollVector struct {
	URI    string `json:"uri"`
	Server string `json:"server"`
	Token  string `json:"token"`
	CA     string `json:"ca,omitempty"`
}

type keyInfoVector struct {
	Role        string `json:"role"`
	PINBound    bool   `json:"pin_bound"`
	TouchBound  bool   `json:"touch_bound"`
	Attestation string `json:"attestation"`
	OID         string `json:"oid"`
	DER         string `json:"der_hex"`
}

type invalidVector struct {
	Name string `json:"name"`
	// Parser is the typ of a message, "jwks" or "enroll_uri".
	Parser string `json:"parser"`
	Input  string `json:"input"`
	Code   string `json:"code"`
	// Signature is "good" or "bad" where any JOSE library must say so too.
	Signature string `json:"signature,omitempty"`
}

func makeVectors() *vectors {
	v := &vectors{
		Comment: []string{
			"Test vectors of the Countersign protocol, see docs/protocol.md.",
			"Every private key here is published and for tests only. Signatures are deterministic (RFC 6979).",
			"Made again with: go test ./protocol -run TestVectors -update",
		},
		Keys: map[string]keyVector{},
	}
	for _, name := range []string{"issuer", "device", "approval"} {
		key := newTestKey(name)
		set := string(must(must(protocol.NewKeys(key.Public())).JWKS()))
		jwk := strings.TrimSuffix(strings.TrimPrefix(set, `{"keys":[`), `]}`)
		v.Keys[name] = keyVector{json.RawMessage(jwk), hex.EncodeToString(must(key.Bytes()))}
	}
	v.makeMessages()
	device, approval := newTestKey("device"), newTestKey("approval")
	v.Confirmation = confirmationVector{
		device.kid(), approval.kid(), must(protocol.ConfirmationCode(device.Public(), approval.Public())),
	}
	v.makeRest()
	v.makeInvalid()
	return v
}

func (v *vectors) add(name, typ, key, about string, claims any, compact string) string {
	v.Messages = append(v.Messages, messageVector{
		name, typ, key, about, json.RawMessage(mustJSON(claims)), compact, protocol.Hash([]byte(compact)),
	})
	return compact
}

// bareRequest is a C0 request with nothing that may be left out.
func bareRequest() *protocol.Request {
	r := request()
	r.ID, r.Type, r.Method, r.Class, r.Message = "txn-2", "sign-in", protocol.MethodPush, protocol.C0, "Sign in to Example Bank?"
	r.Details, r.Context, r.NumberMatch, r.HighValue, r.SigningData = nil, nil, nil, false, ""
	return r
}

// fingerprintRequest is of class C1.
func fingerprintRequest() *protocol.Request {
	r := bareRequest()
	r.ID, r.Type, r.Method, r.Class, r.NumberMatch = "txn-3", "unlock", protocol.MethodFingerprint, protocol.C1, &protocol.NumberMatch{Digits: 6}
	return r
}

func (v *vectors) makeMessages() {
	issuer, device, approval := newTestKey("issuer"), newTestKey("device"), newTestKey("approval")
	full, bare := request(), bareRequest()
	c2 := v.add("request-c2", typRequest, "issuer", "", full, must(protocol.SignRequest(issuer, full)))
	c0 := v.add("request-c0", typRequest, "issuer", "", bare, must(protocol.SignRequest(issuer, bare)))

	approve := decision(c2, full)
	a := v.add("decision-approve", typDecision, "approval", "request-c2", approve, must(protocol.SignDecision(approval, approve)))
	denied := deny(decision(c2, full), protocol.ReasonCancelled)
	denied.Prev = protocol.Hash([]byte(a))
	d := v.add("decision-deny", typDecision, "device", "request-c2", denied, must(protocol.SignDecision(device, denied)))
	notMe := deny(decision(c0, bare), protocol.ReasonNotMe)
	notMe.Prev, notMe.UV.Method, notMe.UV.Surface = protocol.Hash([]byte(d)), protocol.UVNone, protocol.SurfaceTTY
	n := v.add("decision-not-me", typDecision, "device", "request-c0", notMe, must(protocol.SignDecision(device, notMe)))
	push := decision(c0, bare)
	push.Prev, push.UV.Method = protocol.Hash([]byte(n)), protocol.UVNone
	p := v.add("decision-approve-c0", typDecision, "device", "request-c0", push, must(protocol.SignDecision(device, push)))
	v.makeFingerprint(p)

	for _, r := range []struct {
		name, about string
		claims      *protocol.Receipt
	}{
		{"receipt-approved", "decision-approve", receipt(a, approve, protocol.StateApproved)},
		{"receipt-denied", "decision-not-me", receipt(n, notMe, protocol.StateDenied)},
	} {
		v.add(r.name, typReceipt, "issuer", r.about, r.claims, must(protocol.SignReceipt(issuer, r.claims)))
	}
	for left, name := range []string{"rejection-last", "rejection"} {
		r := rejection(a, approve, left)
		v.add(name, typRejection, "issuer", "decision-approve", r, must(protocol.SignRejection(issuer, r)))
	}
	s := succession()
	v.add("succession", typSuccession, "approval", "", s, must(protocol.SignSuccession(approval, s)))
}

// makeFingerprint is a request for a finger, and both ways to satisfy it.
func (v *vectors) makeFingerprint(prev string) {
	issuer, device, approval := newTestKey("issuer"), newTestKey("device"), newTestKey("approval")
	r := fingerprintRequest()
	asked := v.add("request-fingerprint", typRequest, "issuer", "", r, must(protocol.SignRequest(issuer, r)))
	finger := decision(asked, r)
	finger.Prev, finger.UV.Method = protocol.Hash([]byte(prev)), protocol.UVFingerprint
	f := v.add("decision-fingerprint", typDecision, "device", "request-fingerprint", finger, must(protocol.SignDecision(device, finger)))
	pin := decision(asked, r)
	pin.Prev, pin.UV.Class = protocol.Hash([]byte(f)), protocol.C2
	v.add("decision-pin-instead", typDecision, "approval", "request-fingerprint", pin, must(protocol.SignDecision(approval, pin)))
}

func (v *vectors) makeRest() {
	for name, r := range map[string]*protocol.Request{"request-c2": request(), "request-c0": bareRequest(), "request-fingerprint": fingerprintRequest()} {
		for _, tz := range []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"} {
			for _, language := range protocol.Languages() {
				rec := must(protocol.Display(r, protocol.DisplayVersion, language, tz))
				v.Displays = append(v.Displays, displayVector{name, protocol.DisplayVersion, language, tz, rec, rec.Hash()})
			}
		}
	}
	sortDisplays(v.Displays)
	pin := sha256.Sum256([]byte("a test-only root"))
	for _, u := range []protocol.EnrollURI{
		{Server: "https://auth.example", Token: secret.New([]byte("test-only-token"))},
		{Server: "https://auth.example:8443/countersign", Token: secret.New([]byte("a+b&c=d%é")), CA: pin[:]},
	} {
		e := enrollVector{URI: u.String(), Server: u.Server, Token: string(u.Token.Reveal())}
		if u.CA != nil {
			e.CA = protocol.Pin(u.CA)
		}
		v.EnrollURIs = append(v.EnrollURIs, e)
	}
	for _, k := range []protocol.KeyInfo{
		{Role: protocol.RoleIssuer},
		{Role: protocol.RoleDevice, Attestation: protocol.AttestationTPM2},
		{Role: protocol.RoleApproval, PINBound: true, Attestation: protocol.AttestationTPM2},
		{Role: protocol.RoleApproval, PINBound: true, TouchBound: true, Attestation: protocol.AttestationPIV},
		{Role: protocol.RoleApproval, Attestation: protocol.AttestationNone},
	} {
		ext := must(k.Extension())
		v.KeyInfo = append(v.KeyInfo, keyInfoVector{
			string(k.Role), k.PINBound, k.TouchBound, k.Attestation, oid(ext.Id), hex.EncodeToString(ext.Value),
		})
	}
}

func oid(id asn1.ObjectIdentifier) string { return id.String() }

func (v *vectors) makeInvalid() {
	issuer, approval := newTestKey("issuer"), newTestKey("approval")
	claims, compact := mustJSON(request()), v.Messages[0].Compact
	h, rest, _ := strings.Cut(compact, ".")
	p, s, _ := strings.Cut(rest, ".")
	add := func(name, parser, input, code, signature string) {
		v.Invalid = append(v.Invalid, invalidVector{name, parser, input, code, signature})
	}
	header := func(alg, more string) string {
		return `{"alg":"` + alg + `","kid":"` + issuer.kid() + `","typ":"` + typRequest + `"` + more + `}`
	}
	signed := func(name, header, code string) { add(name, typRequest, issuer.jws(header, claims), code, "good") }
	mac := hmac.New(sha256.New, must(issuer.PublicKey.Bytes()))
	mac.Write([]byte(b64(header("HS256", "")) + "." + p))

	add("alg-none", typRequest, b64(header("none", ""))+"."+p+".", protocol.CodeBadJWS, "bad")
	add("alg-hs256-with-public-key", typRequest, b64(header("HS256", ""))+"."+p+"."+b64(string(mac.Sum(nil))), protocol.CodeBadJWS, "bad")
	signed("header-jwk", header("ES256", `,"jwk":`+string(v.Keys["issuer"].JWK)), protocol.CodeBadJWS)
	signed("header-jku", header("ES256", `,"jku":"https://auth.example/"`), protocol.CodeBadJWS)
	add("header-crit", typRequest, issuer.jws(header("ES256", `,"b64":true,"crit":["b64"]`), claims), protocol.CodeBadJWS, "")
	add("header-member-twice", typRequest, issuer.jws(header("ES256", `,"alg":"ES256"`), claims), protocol.CodeBadJWS, "")
	signed("typ-of-a-decision", issuer.header(typDecision), protocol.CodeBadJWS)
	signed("typ-missing", `{"alg":"ES256","kid":"`+issuer.kid()+`"}`, protocol.CodeBadJWS)
	add("kid-unknown", typRequest, approval.jws(approval.header(typRequest), claims), protocol.CodeUnknownKey, "bad")
	add("signature-of-another-key", typRequest, approval.jws(issuer.header(typRequest), claims), protocol.CodeBadSignature, "bad")
	add("signature-altered", typRequest, h+"."+p+"."+flip(s, 0), protocol.CodeBadSignature, "bad")
	add("payload-altered", typRequest, h+"."+b64(strings.Replace(claims, "250.00", "950.00", 1))+"."+s, protocol.CodeBadSignature, "bad")
	add("signature-padded", typRequest, compact+"==", protocol.CodeBadJWS, "")
	add("signature-trailing-bits", typRequest, compact[:len(compact)-1]+nextLetter(compact[len(compact)-1]), protocol.CodeBadJWS, "")
	add("line-break", typRequest, h+"."+p[:40]+"\r\n"+p[40:]+"."+s, protocol.CodeBadJWS, "")
	add("four-parts", typRequest, compact+"."+s, protocol.CodeBadJWS, "bad")
	v.makeInvalidClaims(add)

	jwk := string(v.Keys["issuer"].JWK)
	set := func(part, by string) string { return `{"keys":[` + strings.Replace(jwk, part, by, 1) + `]}` }
	add("jwks-kid-not-thumbprint", "jwks", set(issuer.kid(), approval.kid()), protocol.CodeUnknownKey, "")
	add("jwks-use-enc", "jwks", set(`"sig"`, `"enc"`), protocol.CodeUnknownKey, "")
	add("jwks-key-ops-sign", "jwks", set(`"use":"sig"`, `"key_ops":["sign"]`), protocol.CodeUnknownKey, "")
	add("jwks-alg", "jwks", set("ES256", "ES384"), protocol.CodeUnknownKey, "")
	add("jwks-curve", "jwks", set("P-256", "P-384"), protocol.CodeUnknownKey, "")
	add("jwks-member-twice", "jwks", set(`"use":"sig"`, `"use":"enc","use":"sig"`), protocol.CodeBadMessage, "")
	add("jwks-empty", "jwks", `{"keys":[]}`, protocol.CodeUnknownKey, "")

	link := v.EnrollURIs[0].URI
	add("enroll-http", "enroll_uri", strings.Replace(link, "https", "http", 1), protocol.CodeBadMessage, "")
	add("enroll-token-twice", "enroll_uri", link+"&token=other", protocol.CodeBadMessage, "")
	add("enroll-no-token", "enroll_uri", strings.TrimSuffix(link, "test-only-token"), protocol.CodeBadMessage, "")
	add("enroll-short-pin", "enroll_uri", link+"&ca=sha256:AAAA", protocol.CodeBadMessage, "")
	add("enroll-bidi-server", "enroll_uri", strings.Replace(link, "auth", "%E2%80%AEauth", 1), protocol.CodeBadMessage, "")
}

// makeInvalidClaims has good signatures under bad claims.
func (v *vectors) makeInvalidClaims(add func(name, parser, input, code, signature string)) {
	for _, c := range []struct{ message, name, old, new, code string }{
		{"request-c2", "request-unknown-member", `{`, `{"note":"x",`, protocol.CodeBadMessage},
		{"request-c2", "request-member-twice", `{`, `{"message":"Pay 1.00 EUR?",`, protocol.CodeBadMessage},
		{"request-c2", "request-member-in-other-case", `{`, `{"Message":"Pay 1.00 EUR?",`, protocol.CodeBadMessage},
		{"request-c2", "request-null", `{`, `{"context":null,`, protocol.CodeBadMessage},
		{"request-c2", "request-lives-over-a-day", `"exp":1790000120`, `"exp":1790086401`, protocol.CodeBadMessage},
		{"request-c2", "request-time-as-a-fraction", `"iat":1790000000`, `"iat":1790000000.0`, protocol.CodeBadMessage},
		{"request-c2", "request-c2-without-number", `"number_match":{"digits":6},`, ``, protocol.CodeBadMessage},
		{"request-c2", "request-number-of-3-digits", `{"digits":6}`, `{"digits":3}`, protocol.CodeBadMessage},
		{"request-c2", "request-iss-http", `https://auth`, `http://auth`, protocol.CodeBadMessage},
		{"request-c2", "request-bidi", `Lyon`, `\u202elyon`, protocol.CodeBadText},
		{"request-c2", "request-line-feed", `Lyon`, `Lyon\nServer: https://evil.example`, protocol.CodeBadText},
		{"request-c2", "request-lone-surrogate", `Lyon`, `\ud83d`, protocol.CodeBadText},
		{"request-c2", "request-not-normalized", `Zoë`, `Zoe\u0308`, protocol.CodeBadText},
		{"request-c2", "request-hangul-filler", `Lyon`, `\u3164`, protocol.CodeBadText},
		{"request-c2", "request-braille-blank", `Lyon`, `\u2800`, protocol.CodeBadText},
		{"request-c2", "request-variation-selector", `Lyon`, `Lyon\ufe0f`, protocol.CodeBadText},
		{"request-c2", "request-pile-of-marks", `Lyon`, `q\u0301\u0302\u0301\u0302\u0301`, protocol.CodeBadText},
		{"request-c2", "request-mark-twice", `Lyon`, `q\u0301\u0301`, protocol.CodeBadText},
		{"request-c2", "request-long-message", `Pay`, strings.Repeat("Pay ", 260), protocol.CodeBadText},
		{"decision-approve", "decision-approve-with-reason", `"decision":"approve"`, `"decision":"approve","reason":"not_me"`, protocol.CodeBadMessage},
		{"decision-approve", "decision-number-of-10-digits", `"493817"`, `"4938170000"`, protocol.CodeBadMessage},
		{"decision-approve", "decision-unknown-method", `"pin"`, `"face"`, protocol.CodeBadMessage},
		{"decision-approve", "decision-short-hash", `"prev":"AAAA`, `"prev":"`, protocol.CodeBadMessage},
		{"decision-deny", "decision-deny-without-reason", `"reason":"cancelled",`, ``, protocol.CodeBadMessage},
		{"receipt-approved", "receipt-pending", `"approved"`, `"pending"`, protocol.CodeBadMessage},
		{"receipt-approved", "receipt-attested-by-none", `"tpm2"`, `"none"`, protocol.CodeBadMessage},
		{"rejection", "rejection-approved", `"pending"`, `"approved"`, protocol.CodeBadMessage},
		{"rejection", "rejection-pending-without-tries", `"tries_left":1`, `"tries_left":0`, protocol.CodeBadMessage},
	} {
		m := v.message(c.message)
		key := newTestKey(m.Key)
		claims := strings.Replace(string(m.Claims), c.old, c.new, 1)
		add(c.name, m.Typ, key.jws(key.header(m.Typ), claims), c.code, "good")
	}
}

func (v *vectors) message(name string) messageVector {
	for _, m := range v.Messages {
		if m.Name == name {
			return m
		}
	}
	panic("no message " + name)
}

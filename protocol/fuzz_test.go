package protocol_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"countersign/protocol"
)

// fuzzClaims fuzzes the claims of one message: the target signs them itself,
// since no fuzzer gets past a signature. What parse accepts must be a refusal
// by code, or come out the same when it is signed and parsed once more.
func fuzzClaims[T any](f *testing.F, name, typ string, seed T, parse func(string, protocol.Keys) (*T, error)) {
	key := newTestKey("issuer")
	keys := key.keys(f)
	f.Add(mustJSON(seed))
	for _, v := range invalidVectors(f, typ) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, claims string) {
		got, err := parse(key.jws(key.header(typ), claims), keys)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again := mustJSON(got)
		checkClean(t, again)
		twice, err := parse(key.jws(key.header(typ), again), keys)
		if err != nil || mustJSON(twice) != again {
			t.Errorf("%s %s was accepted once, then %v", name, again, err)
		}
	})
}

func checkRefusal(tb testing.TB, err error) {
	tb.Helper()
	if code := codeOf(err); code == "not a protocol.Error" || len(err.Error()) > 300 {
		tb.Errorf("refused with %v", err)
	}
}

// checkClean fails when a string of a JSON document holds a character that
// does not show.
func checkClean(tb testing.TB, doc string) {
	tb.Helper()
	dec := json.NewDecoder(strings.NewReader(doc))
	for {
		tok, err := dec.Token()
		if err != nil {
			return
		}
		if s, ok := tok.(string); ok && strings.ContainsFunc(s, hidden) {
			tb.Errorf("accepted %q", s)
		}
	}
}

func hidden(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) && !unknown(r) }

// unknown characters are not assigned yet, or privately, and show as such.
func unknown(r rune) bool { return !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs) }

func FuzzParseRequest(f *testing.F) {
	fuzzClaims(f, "request", typRequest, *request(), protocol.ParseRequest)
}

func FuzzParseDecision(f *testing.F) {
	fuzzClaims(f, "decision", typDecision, *decision("x.y.z", request()), protocol.ParseDecision)
}

func FuzzParseReceipt(f *testing.F) {
	fuzzClaims(f, "receipt", typReceipt, *receipt("x.y.z", decision("", request()), protocol.StateApproved), protocol.ParseReceipt)
}

func FuzzParseRejection(f *testing.F) {
	fuzzClaims(f, "rejection", typRejection, *rejection("x.y.z", decision("", request()), 2), protocol.ParseRejection)
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte(mustJSON(request())))
	f.Add([]byte(`{"details":[{"label":"\ud83d\udc4d"}],"class":"C1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second protocol.Request
		if err := protocol.DecodeStrict(data, &first); err != nil {
			checkRefusal(t, err)
			return
		}
		if first.Class == 0 {
			first.Class = protocol.C0 // a class left out has no text
		}
		again := mustJSON(first)
		checkClean(t, again)
		if err := protocol.DecodeStrict([]byte(again), &second); err != nil || mustJSON(second) != again {
			t.Errorf("%s was accepted once, then %v", again, err)
		}
	})
}

func FuzzKeyID(f *testing.F) {
	key := newTestKey("device")
	f.Add(key.jws(key.header(typDecision), "{}"))
	f.Add("e30.e30.e30")
	f.Add(b64(`{"alg":"ES256","alg":"none"}`) + ".e30.e30")
	f.Fuzz(func(t *testing.T, compact string) {
		kid, err := protocol.KeyID(compact)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if strings.ContainsFunc(kid, hidden) || strings.Count(compact, ".") != 2 || len(compact) > protocol.MaxMessage {
			t.Errorf("%q has kid %q", compact, kid)
		}
	})
}

func FuzzParseJWKS(f *testing.F) {
	f.Add(must(newTestKey("issuer").keys(f).JWKS()))
	f.Add(must(must(protocol.NewKeys(newTestKey("a").Public(), newTestKey("b").Public())).JWKS()))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","key_ops":["verify"],"x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := protocol.ParseJWKS(data)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again, err := protocol.ParseJWKS(must(keys.JWKS()))
		if err != nil || len(again) != len(keys) || len(keys) == 0 {
			t.Fatalf("%d keys became %d: %v", len(keys), len(again), err)
		}
		for kid, key := range keys {
			if must(protocol.Thumbprint(key)) != kid || must(protocol.Thumbprint(again[kid])) != kid {
				t.Errorf("key %q is another", kid)
			}
		}
	})
}

func FuzzParseEnrollURI(f *testing.F) {
	f.Add("countersign:enroll?server=https%3A%2F%2Fauth.example%3A8443&token=sesame&ca=" + protocol.Pin(make([]byte, 32)))
	f.Add("countersign:enroll?token=%C3%A9&server=https://[::1]/a%2520b/")
	f.Fuzz(func(t *testing.T, link string) {
		u, err := protocol.ParseEnrollURI(link)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if strings.ContainsFunc(u.Server, hidden) || !protocol.ValidIssuer(u.Server) || u.Token.Empty() {
			t.Errorf("accepted server %q", u.Server)
		}
		again, err := protocol.ParseEnrollURI(u.String())
		if err != nil || again.String() != u.String() {
			t.Errorf("%q became %q: %v", u.String(), again.String(), err)
		}
	})
}

func FuzzParseKeyInfo(f *testing.F) {
	id := must(protocol.KeyInfo{}.Extension()).Id
	for _, role := range []protocol.Role{protocol.RoleDevice, protocol.RoleApproval, protocol.RoleIssuer, protocol.RoleMachine} {
		f.Add(must(protocol.KeyInfo{Role: role, PINBound: true, Attestation: "tpm2"}.Extension()).Value)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		info, err := protocol.ParseKeyInfo(&x509.Certificate{Extensions: []pkix.Extension{{Id: id, Value: der}}})
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if again := must(info.Extension()).Value; string(again) != string(der) || strings.ContainsFunc(info.Attestation, hidden) {
			t.Errorf("%x reads as %+v", der, info)
		}
	})
}

func FuzzDisplay(f *testing.F) {
	f.Add("Example Bank", "Pay?", "Amount", "1 EUR", "192.0.2.7", "data", "Europe/Berlin", int64(1790000000))
	f.Add("Server: https://x", "  Sent: ", ":", "\u0338", "", "", "UTC", int64(1))
	f.Add("a", "b", "c", "d", "e", "f", "right/UTC", int64(1)<<62)
	f.Fuzz(func(t *testing.T, name, message, label, value, reported, signing, tz string, at int64) {
		r := request()
		r.Client.Name, r.Message, r.Details, r.SigningData = name, message, []protocol.Detail{{Label: label, Value: value}}, signing
		r.Context = &protocol.Context{IP: reported, Device: reported}
		r.IssuedAt, r.ExpiresAt = at, at+60
		language := protocol.Languages()[len(tz)%len(protocol.Languages())]
		rec, err := protocol.Display(r, protocol.DisplayVersion, language, tz)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if r.Validate() != nil {
			return // not promised to be clean
		}
		checkRecord(t, language, rec)
		for _, line := range rec {
			if err := protocol.CheckText("line", line, 4096); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}

// FuzzEvidenceVerify alters the JSON of evidence. Nothing that verifies may
// say anything but what was signed.
func FuzzEvidenceVerify(f *testing.F) {
	w := newWorld()
	whole := w.evidence()
	f.Add([]byte(mustJSON(whole)))
	f.Add([]byte(`{"certificates":["-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"]}`))
	roots := pool(w.root)
	f.Fuzz(func(t *testing.T, data []byte) {
		var e protocol.Evidence
		if json.Unmarshal(data, &e) != nil {
			return
		}
		if _, err := e.Verify(nil); err != nil {
			checkRefusal(t, err)
		}
		v, err := e.Verify(roots)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if e.Request != whole.Request || e.Decision != whole.Decision || v.Key != w.info || e.Attestation != whole.Attestation {
			t.Errorf("verified %s", data)
		}
	})
}

// FuzzEvidenceClaims lets a dishonest server and device sign what they like.
func FuzzEvidenceClaims(f *testing.F) {
	w := newWorld()
	chains := w.evidence()
	roots := pool(w.root)
	req := mustJSON(w.request)
	compact := w.issuer.jws(w.issuer.header(typRequest), req)
	d := decision(compact, w.request)
	dec := w.signer.jws(w.signer.header(typDecision), mustJSON(d))
	f.Add(req, mustJSON(d), mustJSON(receipt(dec, d, protocol.StateApproved)))
	f.Fuzz(func(t *testing.T, req, dec, rec string) {
		e := *chains
		e.Request = w.issuer.jws(w.issuer.header(typRequest), req)
		e.Decision = w.signer.jws(w.signer.header(typDecision), dec)
		e.Receipt = w.issuer.jws(w.issuer.header(typReceipt), rec)
		v, err := e.Verify(roots)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkRecord(t, v.Decision.Language, v.Display)
		if v.Decision.Request != protocol.Hash([]byte(e.Request)) || v.Receipt.Decision != protocol.Hash([]byte(e.Decision)) ||
			v.Decision.Display != v.Display.Hash() || v.Receipt.IssuedAt > v.Request.ExpiresAt || v.Decision.UV.Class < v.Request.Class {
			t.Errorf("verified %s %s %s", req, dec, rec)
		}
	})
}

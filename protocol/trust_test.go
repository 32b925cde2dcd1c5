package protocol_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"countersign/protocol"
)

const typTrust = "trust-statement+jwt"

// trust is a statement of a server that has moved, and is replacing both its root
// and its key.
func trust() *protocol.Trust {
	keys := must(protocol.NewKeys(newTestKey("issuer").Public(), newTestKey("next issuer").Public()))
	return &protocol.Trust{
		Issuer: "https://auth.example", Former: []string{"https://old.example"}, IssuedAt: 1790000000, Seq: 7,
		DeviceURLs: []string{"https://devices.example:8443", "https://old.example:8443"},
		TLSRoots:   []protocol.Blob{newTestCA("TLS root", nil).cert.Raw, newTestCA("next TLS root", nil).cert.Raw},
		Keys:       must(protocol.NewTrustKeys(keys)),
	}
}

func document(statements ...string) []byte {
	return []byte(mustJSON(protocol.TrustDocument{Statements: statements}))
}

func TestTrustStatement(t *testing.T) {
	old, next := newTestKey("issuer"), newTestKey("next issuer")
	doc := document(must(protocol.SignTrust(old, trust())), must(protocol.SignTrust(next, trust())))
	for name, keys := range map[string]protocol.Keys{"the old key": old.keys(t), "the next key": next.keys(t)} {
		got, err := protocol.ParseTrustDocument(doc, keys)
		if err != nil || mustJSON(got) != mustJSON(trust()) {
			t.Errorf("who knows %s reads %+v, %v", name, got, err)
		}
	}
	known, err := must(protocol.ParseTrustDocument(doc, old.keys(t))).Keys.Parse()
	if err != nil || len(known) != 2 || known[next.kid()] == nil {
		t.Errorf("the keys are %v, %v", known, err)
	}
	if _, err := protocol.ParseTrustDocument(doc, newTestKey("thief").keys(t)); codeOf(err) != protocol.CodeUnknownKey {
		t.Errorf("who knows neither key: %v", err)
	}
	other := document(old.jws(old.header(typTrust+"2"), "{}"), must(protocol.SignTrust(old, trust())))
	if _, err := protocol.ParseTrustDocument(other, old.keys(t)); err != nil {
		t.Errorf("a statement of another kind beside it: %v", err)
	}
}

func TestTrustFollows(t *testing.T) {
	for _, c := range []struct {
		issuer string
		seq    int64
		good   bool
	}{
		{"https://auth.example", 6, true},
		{"https://old.example", 0, true},
		{"https://other.example", 0, false},
		{"https://auth.example", 7, false},
		{"https://auth.example", 8, false},
	} {
		if err := trust().Follows(c.issuer, c.seq); (err == nil) != c.good {
			t.Errorf("by %s at %d: %v", c.issuer, c.seq, err)
		}
	}
}

// TestTrustRefused: nothing of a statement is taken where a part of it is wrong.
func TestTrustRefused(t *testing.T) {
	key := newTestKey("issuer")
	root := newTestCA("TLS root", nil)
	leaf := signCert(certTemplate("leaf"), root.cert, newTestKey("leaf").Public(), root.key)
	inter := newTestCA("inter", newTestCA("TLS root", nil))
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("https://host%d.example", i))
		}
		return out
	}
	for name, change := range map[string]func(*protocol.Trust){
		"no number":            func(s *protocol.Trust) { s.Seq = 0 },
		"a negative number":    func(s *protocol.Trust) { s.Seq = -1 },
		"a number too large":   func(s *protocol.Trust) { s.Seq = 1<<53 + 1 },
		"no time":              func(s *protocol.Trust) { s.IssuedAt = 0 },
		"no name":              func(s *protocol.Trust) { s.Issuer = "" },
		"a name over http":     func(s *protocol.Trust) { s.Issuer = "http://auth.example" },
		"a name with a user":   func(s *protocol.Trust) { s.Former = []string{"https://a@old.example"} },
		"a name twice":         func(s *protocol.Trust) { s.Former = []string{s.Issuer} },
		"many names":           func(s *protocol.Trust) { s.Former = many(8) },
		"no URL":               func(s *protocol.Trust) { s.DeviceURLs = nil },
		"a URL with a query":   func(s *protocol.Trust) { s.DeviceURLs = []string{"https://a.example/?x"} },
		"many URLs":            func(s *protocol.Trust) { s.DeviceURLs = many(9) },
		"a root that is none":  func(s *protocol.Trust) { s.TLSRoots[0] = []byte("root") },
		"a root twice":         func(s *protocol.Trust) { s.TLSRoots[1] = s.TLSRoots[0] },
		"a leaf for a root":    func(s *protocol.Trust) { s.TLSRoots[0] = leaf.Raw },
		"another's CA":         func(s *protocol.Trust) { s.TLSRoots[0] = inter.cert.Raw },
		"bytes after a root":   func(s *protocol.Trust) { s.TLSRoots[0] = append(bytes.Clone(s.TLSRoots[0]), 0) },
		"a root beyond limits": func(s *protocol.Trust) { s.TLSRoots[0] = make([]byte, 4097) },
		"no keys":              func(s *protocol.Trust) { s.Keys.Keys = nil },
		"a key of another kid": func(s *protocol.Trust) { s.Keys.Keys[0].Kid = s.Keys.Keys[1].Kid },
		"a key to encrypt":     func(s *protocol.Trust) { s.Keys.Keys[0].Use = "enc" },
		"a key off the curve":  func(s *protocol.Trust) { s.Keys.Keys[0].X = s.Keys.Keys[0].Y },
	} {
		s := trust()
		change(s)
		compact := key.jws(key.header(typTrust), mustJSON(s))
		if _, err := protocol.ParseTrust(compact, key.keys(t)); err == nil || codeOf(err) == "not a protocol.Error" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := protocol.SignTrust(key, s); err == nil {
			t.Errorf("%s is signed", name)
		}
	}
	roots := trust()
	for i := range 100 {
		roots.TLSRoots = append(roots.TLSRoots, newTestCA(fmt.Sprint("root ", i), nil).cert.Raw)
	}
	if _, err := protocol.ParseTrust(key.jws(key.header(typTrust), mustJSON(roots)), key.keys(t)); err == nil {
		t.Error("a hundred roots are taken")
	}
	claims := strings.Replace(mustJSON(trust()), `"seq":7`, `"seq":7,"exp":1`, 1)
	if _, err := protocol.ParseTrust(key.jws(key.header(typTrust), claims), key.keys(t)); err == nil {
		t.Error("an unknown member is taken")
	}
	if _, err := protocol.ParseTrust(key.jws(key.header("approval-request+jwt"), mustJSON(trust())), key.keys(t)); err == nil {
		t.Error("a message of another kind is taken for a statement")
	}
}

func TestTrustDocumentRefused(t *testing.T) {
	key := newTestKey("issuer")
	good := must(protocol.SignTrust(key, trust()))
	head, signature, _ := strings.Cut(good[strings.Index(good, ".")+1:], ".")
	forged := good[:strings.Index(good, ".")+1] + head + "." + strings.Repeat("A", len(signature))
	for name, doc := range map[string][]byte{
		"nothing":            nil,
		"no statement":       document(),
		"null":               []byte(`{"statements":null}`),
		"an unknown member":  []byte(`{"statements":["` + good + `"],"more":1}`),
		"a member twice":     []byte(`{"statements":["x"],"statements":["` + good + `"]}`),
		"something after it": append(document(good), '1'),
		"no JWS":             document("x"),
		"too many":           document(good, good, good, good, good, good, good, good, good),
		"a forged one first": document(forged, good),
		"too large":          document(strings.Repeat("A", protocol.MaxMessage+1)),
		"far too large":      bytes.Repeat([]byte(" "), protocol.MaxTrustDocument+1),
		"HTML":               []byte("<!doctype html>"),
	} {
		if got, err := protocol.ParseTrustDocument(doc, key.keys(t)); err == nil || codeOf(err) == "not a protocol.Error" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParseTrust(f *testing.F) {
	fuzzClaims(f, "trust", typTrust, *trust(), protocol.ParseTrust)
}

// FuzzParseTrustDocument: what is taken is signed by the key that is known, whatever
// surrounds it.
func FuzzParseTrustDocument(f *testing.F) {
	key := newTestKey("issuer")
	good := must(protocol.SignTrust(key, trust()))
	f.Add(document(good))
	f.Add(document(must(protocol.SignTrust(newTestKey("next issuer"), trust())), good))
	f.Add([]byte(`{"statements":[]}`))
	want := mustJSON(trust())
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := protocol.ParseTrustDocument(doc, key.keys(t))
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if mustJSON(got) != want || !json.Valid(doc) {
			t.Errorf("taken: %s", doc)
		}
	})
}

func TestRootProtocolIsShort(t *testing.T) {
	name := protocol.RootProtocol(protocol.SPKI(&x509.Certificate{RawSubjectPublicKeyInfo: []byte("key")}))
	if len(name) > 255 || !strings.HasPrefix(name, "countersign-root:") {
		t.Errorf("%q is no name of a TLS protocol", name)
	}
}

package protocol_test

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/protocol"
)

var update = flag.Bool("update", false, "write testdata/vectors.json, evidence.json and root.pem again")

// TestVectors makes every published file again and compares byte by byte:
// what is published is what the code says.
func TestVectors(t *testing.T) {
	w := newWorld()
	for name, data := range map[string][]byte{
		"vectors.json":  pretty(makeVectors()),
		"evidence.json": pretty(w.evidence()),
		"root.pem":      []byte(pemOf(w.root.cert)),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if old := readFile(t, path); !bytes.Equal(old, data) {
			t.Errorf("%s is not what the code makes; -update writes it", path)
		}
	}
}

func pretty(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func readVectors(tb testing.TB) *vectors {
	tb.Helper()
	v := new(vectors)
	if err := json.Unmarshal(readFile(tb, filepath.Join("testdata", "vectors.json")), v); err != nil {
		tb.Fatal(err)
	}
	return v
}

func (v *vectors) key(tb testing.TB, name string) protocol.Keys {
	tb.Helper()
	return must(protocol.ParseJWKS([]byte(`{"keys":[` + string(v.Keys[name].JWK) + `]}`)))
}

// parse gives a message to the parser of its typ and returns its claims.
func parse(compact, typ string, keys protocol.Keys) (any, error) {
	switch typ {
	case typRequest:
		return protocol.ParseRequest(compact, keys)
	case typDecision:
		return protocol.ParseDecision(compact, keys)
	case typReceipt:
		return protocol.ParseReceipt(compact, keys)
	case typRejection:
		return protocol.ParseRejection(compact, keys)
	case typSuccession:
		for _, old := range keys {
			return protocol.ParseSuccession(compact, old)
		}
		return nil, errors.New("no key")
	case "jwks":
		return protocol.ParseJWKS([]byte(compact))
	default:
		return protocol.ParseEnrollURI(compact)
	}
}

func TestVectorMessages(t *testing.T) {
	v := readVectors(t)
	for _, m := range v.Messages {
		got, err := parse(m.Compact, m.Typ, v.key(t, m.Key))
		var claims bytes.Buffer
		if json.Compact(&claims, m.Claims) != nil || err != nil || mustJSON(got) != claims.String() {
			t.Errorf("%s: %v", m.Name, err)
		}
		if m.Hash != protocol.Hash([]byte(m.Compact)) {
			t.Errorf("%s has another hash", m.Name)
		}
		switch got := got.(type) {
		case *protocol.Decision:
			r := v.message(m.About)
			wantCode(t, got.Answers(r.Compact, must(protocol.ParseRequest(r.Compact, v.key(t, r.Key)))), "")
		case *protocol.Receipt:
			d := v.message(m.About)
			wantCode(t, got.Acknowledges(d.Compact, must(protocol.ParseDecision(d.Compact, v.key(t, d.Key)))), "")
		}
	}
}

func TestVectorDisplays(t *testing.T) {
	v := readVectors(t)
	for _, d := range v.Displays {
		m := v.message(d.Request)
		r := must(protocol.ParseRequest(m.Compact, v.key(t, m.Key)))
		rec, err := protocol.Display(r, d.Version, d.Lang, d.TZ)
		if err != nil || !slices.Equal(rec, protocol.Record(d.Lines)) || rec.Hash() != d.Hash {
			t.Errorf("%s in %s: %q, %v", d.Request, d.TZ, rec, err)
		}
		checkRecord(t, d.Lang, rec)
	}
}

func TestVectorsOfEnrollment(t *testing.T) {
	v := readVectors(t)
	for _, e := range v.EnrollURIs {
		u, err := protocol.ParseEnrollURI(e.URI)
		if err != nil || u.Server != e.Server || string(u.Token.Reveal()) != e.Token || e.CA != "" && protocol.Pin(u.CA) != e.CA {
			t.Errorf("%s: %v", e.URI, err)
		}
	}
	c := v.Confirmation
	code, err := protocol.ConfirmationCode(v.key(t, "device")[c.Device], v.key(t, "approval")[c.Approval])
	if err != nil || code != c.Code {
		t.Errorf("confirmation code %s, %v", code, err)
	}
	for _, k := range v.KeyInfo {
		ext := pkix.Extension{Id: must(protocol.KeyInfo{}.Extension()).Id, Value: must(hex.DecodeString(k.DER))}
		info, err := protocol.ParseKeyInfo(&x509.Certificate{Extensions: []pkix.Extension{ext}})
		want := protocol.KeyInfo{Role: protocol.Role(k.Role), PINBound: k.PINBound, TouchBound: k.TouchBound, Attestation: k.Attestation}
		if err != nil || info != want || k.OID != oid(ext.Id) {
			t.Errorf("%s: %+v, %v", k.DER, info, err)
		}
	}
}

func TestVectorsThatAreInvalid(t *testing.T) {
	v := readVectors(t)
	keys := protocol.Keys{}
	for name := range v.Keys {
		if name == "issuer" {
			continue
		}
		for kid, key := range v.key(t, name) {
			keys[kid] = key
		}
	}
	for _, i := range v.Invalid {
		t.Run(i.Name, func(t *testing.T) {
			with := v.key(t, "issuer")
			if i.Parser == typDecision {
				with = keys
			}
			_, err := parse(i.Input, i.Parser, with)
			wantCode(t, err, i.Code)
		})
	}
}

func TestVectorEvidence(t *testing.T) {
	var e protocol.Evidence
	if err := json.Unmarshal(readFile(t, filepath.Join("testdata", "evidence.json")), &e); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	block, _ := pem.Decode(readFile(t, filepath.Join("testdata", "root.pem")))
	roots.AddCert(must(x509.ParseCertificate(block.Bytes)))
	if _, err := e.Verify(roots); err != nil {
		t.Error(err)
	}
}

// invalidVectors are the claims of the published messages that are signed well
// and invalid all the same.
func invalidVectors(tb testing.TB, typ string) []string {
	tb.Helper()
	var claims []string
	for _, i := range readVectors(tb).Invalid {
		if i.Parser != typ || i.Signature != "good" {
			continue
		}
		claims = append(claims, string(must(base64.RawURLEncoding.DecodeString(strings.Split(i.Input, ".")[1]))))
	}
	return claims
}

func sortDisplays(d []displayVector) {
	slices.SortFunc(d, func(a, b displayVector) int {
		return cmp.Or(cmp.Compare(a.Request, b.Request), cmp.Compare(a.TZ, b.TZ), cmp.Compare(a.Lang, b.Lang))
	})
}

// TestVectorsWithAnotherImplementation has Debian's python3-jwcrypto judge the
// vectors, and Python's hashlib make every hash again.
func TestVectorsWithAnotherImplementation(t *testing.T) {
	out, err := exec.Command(pythonWithJWCrypto(t), filepath.Join("testdata", "verify_jwcrypto.py"), "testdata").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "messages 14, displays 48, good 32, bad 7, evidence 3, ok\n"
	if string(out) != want {
		t.Errorf("said %q, want %q", out, want)
	}
}

// pythonWithJWCrypto finds an interpreter that has the package: the first in
// PATH need not be Debian's.
func pythonWithJWCrypto(tb testing.TB) string {
	tb.Helper()
	testenv.Need(tb, "python3")
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import jwcrypto").Run() == nil {
			return python
		}
	}
	if os.Getenv("CI") != "" {
		tb.Fatal("this test needs python3-jwcrypto")
	}
	tb.Skip("this test needs python3-jwcrypto")
	return ""
}

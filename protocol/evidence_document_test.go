package protocol_test

import (
	"encoding/json"
	"strings"
	"testing"

	"countersign/protocol"
)

func TestParseEvidence(t *testing.T) {
	w := newWorld()
	text := mustJSON(w.evidence())
	e, err := protocol.ParseEvidence([]byte(" " + text + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if mustJSON(e) != text {
		t.Error("the evidence is read as another")
	}
	var sorted map[string]any
	if err := json.Unmarshal([]byte(text), &sorted); err != nil {
		t.Fatal(err)
	}
	if _, err := protocol.ParseEvidence([]byte(mustJSON(sorted))); err != nil {
		t.Errorf("in another order: %v", err)
	}
	swap := func(old, other string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("the evidence has no %s", old)
		}
		return strings.Replace(text, old, other, 1)
	}
	for name, altered := range map[string]string{
		"a member more":         swap(`{"request":`, `{"note":"approved","request":`),
		"a member twice":        swap(`{"request":`, `{"request":"x","request":`),
		"another spelling":      swap(`{"request":`, `{"Request":`),
		"a verdict of more":     swap(`"attested":true`, `"attested":true,"certified":true`),
		"a verdict of less":     swap(`"touch_bound":false,`, ``),
		"a verdict said twice":  swap(`"touch_bound":false`, `"touch_bound":true,"touch_bound":false`),
		"null":                  swap(`"touch_bound":false`, `"touch_bound":null`),
		"no request":            swap(`"request":`, `"requests":`),
		"something behind":      text + `{}`,
		"no document":           text[1:],
		"an array":              "[" + text + "]",
		"nothing":               "",
		"a number for a string": swap(`"request":"`, `"request":1,"decision":"`),
		"too large":             text + strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := protocol.ParseEvidence([]byte(altered))
			if e != nil || err == nil {
				t.Fatal("accepted")
			}
			if code := codeOf(err); code != protocol.CodeBadMessage && code != protocol.CodeTooLarge {
				t.Errorf("refused with %s", code)
			}
		})
	}
}

// TestEvidenceChainIsWhole has certificates in the lists that vouch for nothing:
// whoever reads them must not take them for verified.
func TestEvidenceChainIsWhole(t *testing.T) {
	w := newWorld()
	foreign := pemBlock(newTestCA("foreign", nil).cert.Raw)
	for name, change := range map[string]func(*protocol.Evidence){
		"foreign root":        func(e *protocol.Evidence) { e.Certificates[len(e.Certificates)-1] = foreign },
		"foreign issuer root": func(e *protocol.Evidence) { e.IssuerCertificates[len(e.IssuerCertificates)-1] = foreign },
		"one more":            func(e *protocol.Evidence) { e.Certificates = append(e.Certificates, foreign) },
		"one in between": func(e *protocol.Evidence) {
			e.Certificates = []string{e.Certificates[0], foreign, e.Certificates[1], e.Certificates[2]}
		},
		"a leaf twice": func(e *protocol.Evidence) { e.Certificates = append(e.Certificates[:1:1], e.Certificates...) },
		"no root":      func(e *protocol.Evidence) { e.Certificates = e.Certificates[:len(e.Certificates)-1] },
		"another order": func(e *protocol.Evidence) {
			e.Certificates[1], e.Certificates[2] = e.Certificates[2], e.Certificates[1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := w.evidence()
			change(e)
			v, err := e.Verify(pool(w.root))
			wantCode(t, err, protocol.CodeBadCert)
			if v != nil {
				t.Error("refused and yet returned")
			}
		})
	}
}

package agent

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

// signRaw signs any claims as a request of the server's: a lying one does not ask
// package protocol.
func (k *kit) signRaw(claims string) string {
	k.t.Helper()
	kid, err := protocol.Thumbprint(k.server.Public())
	if err != nil {
		k.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(`{"alg":"ES256","kid":"`+kid+`","typ":"approval-request+jwt"}`)) + "." + b64([]byte(claims))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.server, digest[:])
	if err != nil {
		k.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + b64(signature)
}

// TestHostileTextsAreNotListed has a lying server send them in good requests.
func TestHostileTextsAreNotListed(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	listed := 0
	for i, text := range testenv.HostileTexts(2000) {
		r := k.request(fmt.Sprint("hostile", i), protocol.C0)
		r.Message = "the text"
		claims, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		quoted := []byte(`"` + text + `"`)
		if utf8.ValidString(text) {
			if quoted, err = json.Marshal(text); err != nil {
				t.Fatal(err)
			}
		}
		_, ok := k.profile.receive(k.signRaw(strings.Replace(string(claims), `"the text"`, string(quoted), 1)), 1000, BootTime())
		it, sum, err := k.agent.pending.show(scopeOf(testUID), r.ID)
		if ok != (err == nil) {
			t.Fatalf("%.80q: received %v, listed %v", text, ok, err)
		}
		if !ok {
			continue
		}
		listed++
		record, err := render(it, k.agent.view(ipc.View{}))
		if err != nil || record[1] != "  "+text || sum.Message != text {
			t.Errorf("%.80q is shown as %.80q, %v", text, record, err)
		}
		if !utf8.ValidString(text) || len(text) > 1024 || strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
			t.Errorf("%.80q is listed", text)
		}
		k.agent.pending.end(k.id, r.ID, protocol.StateCancelled)
	}
	if listed < 300 || listed > 1700 {
		t.Errorf("%d are listed: that tries too little", listed)
	}
	if strings.ContainsFunc(strings.ReplaceAll(k.log.String(), "\n", ""), unicode.IsControl) {
		t.Error("a text is in the log")
	}
}

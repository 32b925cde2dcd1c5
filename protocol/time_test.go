package protocol_test

import (
	"testing"

	"countersign/protocol"
)

func serverTime() *protocol.ServerTime {
	return &protocol.ServerTime{Issuer: "https://auth.example", IssuedAt: 1790000000, Nonce: protocol.Hash([]byte("nonce"))}
}

func TestServerTime(t *testing.T) {
	key := newTestKey("issuer")
	compact := must(protocol.SignTime(key, serverTime()))
	got, err := protocol.ParseTime(compact, serverTime().Nonce, key.keys(t))
	if err != nil || *got != *serverTime() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := protocol.ParseTime(compact, protocol.Hash(nil), key.keys(t)); codeOf(err) != protocol.CodeMismatch {
		t.Errorf("the answer to another question: %v", err)
	}
	if _, err := protocol.ParseTime(compact, serverTime().Nonce, newTestKey("thief").keys(t)); codeOf(err) != protocol.CodeUnknownKey {
		t.Errorf("by another key: %v", err)
	}
	for name, change := range map[string]func(*protocol.ServerTime){
		"no time":        func(s *protocol.ServerTime) { s.IssuedAt = 0 },
		"no issuer":      func(s *protocol.ServerTime) { s.Issuer = "" },
		"a chosen nonce": func(s *protocol.ServerTime) { s.Nonce = "approve" },
	} {
		s := serverTime()
		change(s)
		if _, err := protocol.SignTime(key, s); err == nil {
			t.Errorf("%s is signed", name)
		}
		if _, err := protocol.ParseTime(key.jws(key.header("server-time+jwt"), mustJSON(s)), s.Nonce, key.keys(t)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	fuzzClaims(f, "time", "server-time+jwt", *serverTime(), func(compact string, keys protocol.Keys) (*protocol.ServerTime, error) {
		return protocol.ParseTime(compact, serverTime().Nonce, keys)
	})
}

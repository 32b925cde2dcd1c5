package protocol_test

import (
	"strings"
	"testing"

	"countersign/protocol"
)

const typSuccession = "key-succession+jwt"

func succession() *protocol.Succession {
	return &protocol.Succession{
		Issuer: "d_device", Audience: "https://auth.example", Subject: "p_profile", IssuedAt: 1790000000,
		Role: protocol.RoleApproval, Key: newTestKey("new").kid(),
	}
}

func TestSuccessionIsTheOldKeysWord(t *testing.T) {
	old, rsaKey := newTestKey("old"), newRSA(t, 2048)
	compact := must(protocol.SignSuccession(old, succession()))
	got, err := protocol.ParseSuccession(compact, old.Public())
	if err != nil || *got != *succession() {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := protocol.ParseSuccession(compact, newTestKey("other").Public()); codeOf(err) != protocol.CodeUnknownKey {
		t.Errorf("another key's word is taken: %v", err)
	}
	compact = must(protocol.SignSuccession(rsaKey, succession()))
	if _, err := protocol.ParseSuccession(compact, rsaKey.Public()); err != nil {
		t.Errorf("an RSA approval key: %v", err)
	}
	decided := must(protocol.SignDecision(old, decision("x.y.z", request())))
	if _, err := protocol.ParseSuccession(decided, old.Public()); codeOf(err) != protocol.CodeBadJWS {
		t.Errorf("a decision passes for a succession: %v", err)
	}
}

func TestSuccessionLimits(t *testing.T) {
	for name, change := range map[string]func(*protocol.Succession){
		"no iss":         func(s *protocol.Succession) { s.Issuer = "" },
		"no aud":         func(s *protocol.Succession) { s.Audience = "" },
		"aud no URL":     func(s *protocol.Succession) { s.Audience = "server" },
		"no sub":         func(s *protocol.Succession) { s.Subject = "" },
		"no iat":         func(s *protocol.Succession) { s.IssuedAt = 0 },
		"no role":        func(s *protocol.Succession) { s.Role = "" },
		"issuer's role":  func(s *protocol.Succession) { s.Role = protocol.RoleIssuer },
		"no key":         func(s *protocol.Succession) { s.Key = "" },
		"key no hash":    func(s *protocol.Succession) { s.Key = strings.Repeat("=", 43) },
		"sub with a tab": func(s *protocol.Succession) { s.Subject = "a\tb" },
	} {
		old, s := newTestKey("old"), succession()
		change(s)
		if _, err := protocol.SignSuccession(old, s); err == nil {
			t.Errorf("%s: signed", name)
		}
		if _, err := protocol.ParseSuccession(old.jws(old.header(typSuccession), mustJSON(s)), old.Public()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseSuccession(f *testing.F) {
	old := newTestKey("old")
	f.Add(mustJSON(succession()))
	f.Add(`{"iss":"a","role":"device"}`)
	f.Fuzz(func(t *testing.T, claims string) {
		s, err := protocol.ParseSuccession(old.jws(old.header(typSuccession), claims), old.Public())
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again := must(protocol.SignSuccession(old, s))
		if got, err := protocol.ParseSuccession(again, old.Public()); err != nil || *got != *s {
			t.Errorf("%+v became %+v: %v", s, got, err)
		}
	})
}

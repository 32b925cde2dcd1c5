package protocol_test

import (
	"testing"

	"countersign/protocol"
)

// TestPredecessorIsNoSuccession: neither word can be taken for the other.
func TestPredecessorIsNoSuccession(t *testing.T) {
	old, s := newTestKey("old"), succession()
	s.Role = protocol.RoleDevice
	word := must(protocol.SignPredecessor(old, s))
	if got, err := protocol.ParsePredecessor(word, old.Public()); err != nil || *got != *s {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := protocol.ParseSuccession(word, old.Public()); codeOf(err) != protocol.CodeBadJWS {
		t.Errorf("it renews a key: %v", err)
	}
	if _, err := protocol.ParsePredecessor(must(protocol.SignSuccession(old, s)), old.Public()); codeOf(err) != protocol.CodeBadJWS {
		t.Errorf("a succession enrolls: %v", err)
	}
	if _, err := protocol.ParsePredecessor(word, newTestKey("other").Public()); codeOf(err) != protocol.CodeUnknownKey {
		t.Errorf("another key's word is taken: %v", err)
	}
	s.Key = ""
	if _, err := protocol.SignPredecessor(old, s); err == nil {
		t.Error("a word about no key is signed")
	}
}

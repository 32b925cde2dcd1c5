package state_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/agent/state"
	"countersign/protocol"
)

// issuers are the server's names by the number of the statement.
func issuers() []string {
	return []string{"https://server.example", "https://one.example", "https://two.example"}
}

// trust is a statement by which the server has moved once more. Its key is that of
// RFC 7515 appendix A.3.
func trust(seq int64) *state.Trust {
	key := protocol.TrustKey{
		Kty: "EC", Crv: "P-256", Use: "sig", Alg: "ES256",
		X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
		Kid: "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
	}
	return &state.Trust{Trust: protocol.Trust{
		Issuer: issuers()[seq], Former: issuers()[:seq], IssuedAt: 1000 + seq, Seq: seq,
		DeviceURLs: []string{issuers()[seq]}, Keys: protocol.TrustKeys{Keys: []protocol.TrustKey{key}},
	}, Past: protocol.TrustKeys{Keys: []protocol.TrustKey{}}}
}

// TestTrustOutlivesAnEarlierVersion: a version that knows no statements rewrites the
// profile without them, and finds in it what it goes by.
func TestTrustOutlivesAnEarlierVersion(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	if err := d.SaveTrust(&p, trust(2)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "profiles", "profile-1", "profile.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var old struct {
		Issuer    string          `json:"issuer"`
		DeviceURL string          `json:"device_url"`
		JWKS      json.RawMessage `json:"jwks"`
	}
	if err := json.Unmarshal(data, &old); err != nil || old.Issuer != issuers()[2] || old.DeviceURL != issuers()[2] || !strings.Contains(string(old.JWKS), "oKIywvGU") {
		t.Errorf("an earlier version reads %+v, %v", old, err)
	}
	if err := d.SaveProfile(p); err != nil { // which knows nothing of the file beside it
		t.Fatal(err)
	}
	list, err := d.Profiles()
	if err != nil || len(list) != 1 || list[0].TrustSeq() != 2 || list[0].URLs()[0] != issuers()[2] || len(list[0].Names()) != 3 {
		t.Errorf("read again: %+v, %v", list, err)
	}
}

// TestTrustIsCompletedOnce: what a crash left between the two files is made good, and
// where there is nothing to do nothing is written.
func TestTrustIsCompletedOnce(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	before := p
	if err := d.SaveTrust(&p, trust(1)); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveProfile(before); err != nil { // as if it had not come to it
		t.Fatal(err)
	}
	list, err := d.Profiles()
	if err != nil || len(list) != 1 || list[0].Issuer != issuers()[1] {
		t.Fatalf("%+v, %v", list, err)
	}
	file := filepath.Join(root, "profiles", "profile-1", "profile.json")
	first, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Profiles(); err != nil {
		t.Fatal(err)
	}
	if second, err := os.Stat(file); err != nil || !os.SameFile(first, second) {
		t.Errorf("it is written at every reading: %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(data, []byte(issuers()[1])) {
		t.Errorf("%s, %v", data, err)
	}
}

// TestDamagedTrustIsRefused: without it the device would take an old statement.
func TestDamagedTrustIsRefused(t *testing.T) {
	d, root := opened(t)
	p := enrolled(t, d, "profile-1")
	if err := d.SaveTrust(&p, trust(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "profiles", "profile-1", "trust.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Profiles(); err == nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

package protocol_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"countersign/protocol"
)

// BenchmarkDecision compares what a verifier does for one decision, strict
// parsing and display record included, with the bare signature check that no
// verifier can do without. Run both in one go and read the ratio.
func BenchmarkDecision(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	keys, err := protocol.NewKeys(key.Public())
	if err != nil {
		b.Fatal(err)
	}
	request := &protocol.Request{
		Issuer: "https://server.example", Audience: "d_bench", Subject: "p_bench", ID: "t_bench",
		IssuedAt: 1_700_000_000, ExpiresAt: 1_700_000_300, Type: "confirm", Method: protocol.MethodPush, Class: protocol.C1,
		Client: protocol.Client{ID: "c_bench", Name: "Bank"}, Message: "Pay 12.50 EUR", NumberMatch: &protocol.NumberMatch{Digits: 6},
	}
	asked, err := protocol.SignRequest(key, request)
	if err != nil {
		b.Fatal(err)
	}
	record, err := protocol.Display(request, protocol.DisplayVersion, "en", "UTC")
	if err != nil {
		b.Fatal(err)
	}
	decided, err := protocol.SignDecision(key, &protocol.Decision{
		Issuer: "d_bench", Audience: request.Issuer, Subject: "p_bench", ID: "t_bench", IssuedAt: 1_700_000_010,
		Request: protocol.Hash([]byte(asked)), Display: record.Hash(), DisplayVersion: protocol.DisplayVersion, Language: "en", TimeZone: "UTC",
		Decision: protocol.Approve, Number: "123456",
		UV:   protocol.UV{Method: protocol.UVNone, Class: protocol.C1, Surface: protocol.SurfacePrompt},
		Prev: protocol.NoPrev,
	})
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte(decided))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("baseline=ecdsa.VerifyASN1", func(b *testing.B) {
		for b.Loop() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				b.Fatal("does not verify")
			}
		}
	})
	b.Run("ParseDecision+Answers", func(b *testing.B) {
		for b.Loop() {
			d, err := protocol.ParseDecision(decided, keys)
			if err == nil {
				err = d.Answers(asked, request)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

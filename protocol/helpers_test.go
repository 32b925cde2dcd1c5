package protocol_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"testing"

	"countersign/protocol"
)

// testKey is a key that everybody can compute from its name, so that vectors
// can be made again. It signs deterministically (RFC 6979). Never use one for
// anything but tests.
type testKey struct{ *ecdsa.PrivateKey }

func newTestKey(name string) testKey {
	d := sha256.Sum256([]byte("countersign test-only key: " + name))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		panic(err)
	}
	return testKey{key}
}

// Sign ignores the randomness it is given.
func (k testKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts)
}

func (k testKey) keys(tb testing.TB) protocol.Keys {
	tb.Helper()
	return must(protocol.NewKeys(k.Public()))
}

func (k testKey) kid() string { return must(protocol.Thumbprint(k.Public())) }

// jws signs any header and payload, profile or not.
func (k testKey) jws(header, payload string) string {
	input := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	der := must(k.Sign(nil, digest[:], crypto.SHA256))
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		panic(err)
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return input + "." + b64(string(raw))
}

// header is the profile's header for this key.
func (k testKey) header(typ string) string {
	return `{"alg":"ES256","kid":"` + k.kid() + `","typ":"` + typ + `"}`
}

const (
	typRequest   = "approval-request+jwt"
	typDecision  = "approval-decision+jwt"
	typReceipt   = "decision-receipt+jwt"
	typRejection = "decision-rejection+jwt"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func mustJSON(v any) string { return string(must(json.Marshal(v))) }

// wantCode fails unless err is a refusal with this code; "" is no error.
func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	if got := codeOf(err); got != code {
		tb.Errorf("refused with %q (%v), want %q", got, err, code)
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		return "not a protocol.Error"
	}
	return e.Code
}

// request is a valid C2 request that uses every member.
func request() *protocol.Request {
	return &protocol.Request{
		Issuer: "https://auth.example", Audience: "dev-1", Subject: "prof-1", ID: "txn-1",
		IssuedAt: 1790000000, ExpiresAt: 1790000120,
		Type: "payment", Method: protocol.MethodPIN, Class: protocol.C2,
		Client:  protocol.Client{ID: "bank", Name: "Example Bank"},
		Message: "Pay 250.00 EUR to Zoë Müller?",
		Details: []protocol.Detail{
			{Label: "Amount", Value: "250.00 EUR"},
			{Label: "To", Value: "DE02 1203 0000 0000 2020 51"},
		},
		Context: &protocol.Context{
			IP: "192.0.2.7", Place: "Lyon, France", UserAgent: "Firefox on Linux", Device: "Laptop",
		},
		NumberMatch: &protocol.NumberMatch{Digits: 6},
		HighValue:   true,
		SigningData: `{"amount":"250.00","currency":"EUR"}`,
	}
}

// decision approves r, compact as it was sent.
func decision(compact string, r *protocol.Request) *protocol.Decision {
	rec := must(protocol.Display(r, protocol.DisplayVersion, "en", "Europe/Berlin"))
	d := &protocol.Decision{
		Issuer: r.Audience, Audience: r.Issuer, Subject: r.Subject, ID: r.ID, IssuedAt: r.IssuedAt + 20,
		Request: protocol.Hash([]byte(compact)), Display: rec.Hash(), DisplayVersion: protocol.DisplayVersion,
		Language: "en", TimeZone: "Europe/Berlin", Decision: protocol.Approve,
		UV:   protocol.UV{Method: protocol.UVPIN, Class: r.Class, Surface: protocol.SurfacePrompt},
		Prev: protocol.NoPrev,
	}
	if r.NumberMatch != nil {
		d.Number = "493817"[:r.NumberMatch.Digits]
	}
	return d
}

func deny(d *protocol.Decision, reason string) *protocol.Decision {
	d.Decision, d.Reason, d.Number = protocol.Deny, reason, ""
	return d
}

func verdict() protocol.Verdict {
	return protocol.Verdict{
		Format: protocol.AttestationTPM2, Attested: true, PINBound: true, Isolation: "service",
		Chip: protocol.Chip{Vendor: "IFX", Model: "SLB9672", Firmware: "16.13"},
	}
}

func receipt(compact string, d *protocol.Decision, state protocol.State) *protocol.Receipt {
	return &protocol.Receipt{
		Issuer: d.Audience, Audience: d.Issuer, ID: d.ID, IssuedAt: d.IssuedAt + 1,
		Decision: protocol.Hash([]byte(compact)), State: state, Attestation: verdict(),
	}
}

func rejection(compact string, d *protocol.Decision, left int) *protocol.Rejection {
	state := protocol.StatePending
	if left == 0 {
		state = protocol.StateFailed
	}
	return &protocol.Rejection{
		Issuer: d.Audience, Audience: d.Issuer, ID: d.ID, IssuedAt: d.IssuedAt + 1,
		Decision: protocol.Hash([]byte(compact)), Code: protocol.ProblemWrongNumber, TriesLeft: left, State: state,
	}
}

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
)

func setup(env *testscript.Env) error {
	// Coverage and the shell's own settings aside, a script sees only this.
	env.Setenv("LC_ALL", "C.UTF-8")
	return nil
}

// await waits until a file holds a text: await FILE TEXT.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("%s does not come to hold %q", args[0], args[1])
		}
	}
}

// playFor plays a device with ordinary keys: play enroll LINK-FILE enrolls with
// the link in a file and writes code, the confirmation code; play token enrolls
// so with keys that a token attests whose maker's root is in maker.pem, which
// play maker writes; play decide waits for a request and approves it with the
// number in a file.
func playFor(tb testing.TB) func(ts *testscript.TestScript, neg bool, args []string) {
	ca := attesttest.Root(tb, "Maker of tokens", nil)
	token := attesttest.NewToken(tb, ca, nil)
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: play enroll LINK-FILE | play token LINK-FILE | play maker FILE | play decide NUMBER-FILE")
		}
		switch args[0] {
		case "maker":
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), ca.PEM(), 0o600))
		case "enroll":
			p := newPlayer(ts)
			p.enroll(ts.ReadFile(args[1]))
			p.save()
		case "token":
			p := newPlayer(ts)
			p.tb, p.token = tb, token
			p.enroll(ts.ReadFile(args[1]))
			p.save()
		case "decide":
			loadPlayer(ts).decide(strings.TrimSpace(ts.ReadFile(args[1])))
		default:
			ts.Fatalf("play %s is unknown", args[0])
		}
	}
}

// player is the device; its fields are kept in player.json between steps.
type player struct {
	ts *testscript.TestScript
	// token attests the keys, where it is not nil.
	tb               testing.TB
	token            *attesttest.Token
	Device, Approval []byte
	Enrolled         protocol.Enrolled
}

func newPlayer(ts *testscript.TestScript) *player {
	p := &player{ts: ts}
	for _, out := range []*[]byte{&p.Device, &p.Approval} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		*out, err = x509.MarshalECPrivateKey(key)
		ts.Check(err)
	}
	return p
}

func (p *player) save() {
	data, err := json.Marshal(p)
	p.ts.Check(err)
	p.ts.Check(os.WriteFile(p.ts.MkAbs("player.json"), data, 0o600))
}

func loadPlayer(ts *testscript.TestScript) *player {
	p := &player{ts: ts}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("player.json")), p))
	return p
}

func (p *player) key(der []byte) *ecdsa.PrivateKey {
	key, err := x509.ParseECPrivateKey(der)
	p.ts.Check(err)
	return key
}

func (p *player) csr(der []byte) []byte {
	out, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p.key(der))
	p.ts.Check(err)
	return out
}

func (p *player) call(method, url, contentType string, body []byte, header ...string) []byte {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.ts.ReadFile("data/ca.pem")))
	conf := &tls.Config{RootCAs: roots}
	if p.Enrolled.Device != "" {
		conf.Certificates = []tls.Certificate{{Certificate: p.Enrolled.DeviceChain, PrivateKey: p.key(p.Device)}}
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	p.ts.Check(err)
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	p.ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	p.ts.Check(err)
	if resp.StatusCode >= 300 {
		p.ts.Fatalf("%s %s: %s %s", method, url, resp.Status, data)
	}
	return data
}

func (p *player) post(url string, body, answer any) {
	data, err := json.Marshal(body)
	p.ts.Check(err)
	p.ts.Check(json.Unmarshal(p.call(http.MethodPost, url, "application/json", data), answer))
}

func (p *player) enroll(link string) {
	uri, err := protocol.ParseEnrollURI(strings.TrimSpace(link))
	p.ts.Check(err)
	secret := string(uri.Token.Reveal())
	var started protocol.EnrollmentStarted
	p.post(uri.Server+protocol.PathEnrollments, protocol.EnrollmentStart{
		Token:     secret,
		Device:    protocol.DeviceFacts{Name: "laptop", Platform: "linux/amd64", Agent: "test", Isolation: "user", Provider: "tpm"},
		DeviceCSR: p.csr(p.Device), ApprovalCSR: p.csr(p.Approval), Attestation: p.claim(),
	}, &started)
	body := protocol.Activation{Token: secret, Attestation: p.prove(started.Challenge)}
	p.post(uri.Server+protocol.PathEnrollments+"/"+started.ID+"/activation", body, &p.Enrolled)
	code, err := protocol.ConfirmationCode(p.key(p.Device).Public(), p.key(p.Approval).Public())
	p.ts.Check(err)
	p.ts.Check(os.WriteFile(p.ts.MkAbs("code"), []byte(code+"\n"), 0o600))
}

func (p *player) claim() protocol.StartAttestation {
	if p.token == nil {
		return protocol.StartAttestation{Format: protocol.AttestationNone}
	}
	slot := func(key []byte, pin byte) []protocol.Blob {
		return []protocol.Blob{p.token.Slot(p.tb, p.key(key).Public(), pin, 1, nil), p.token.Raw}
	}
	return protocol.StartAttestation{
		Format: protocol.AttestationPIV, PIV: &protocol.PIVStart{Device: slot(p.Device, 1), Approval: slot(p.Approval, 3)},
	}
}

func (p *player) prove(challenge []byte) *protocol.ProofAttestation {
	if p.token == nil {
		return nil
	}
	return &protocol.ProofAttestation{PIV: &protocol.PIVProof{
		Device:   attesttest.Sign(p.tb, p.key(p.Device), challenge),
		Approval: attesttest.Sign(p.tb, p.key(p.Approval), challenge),
	}}
}

func (p *player) decide(number string) {
	var list protocol.Requests
	url := p.Enrolled.DeviceURL + protocol.PathRequests
	p.ts.Check(json.Unmarshal(p.call(http.MethodGet, url, "", nil, "Prefer", "wait=20"), &list))
	keys, err := protocol.ParseJWKS(p.Enrolled.JWKS)
	p.ts.Check(err)
	r, err := protocol.ParseRequest(list.Requests[0], keys)
	p.ts.Check(err)
	record, err := protocol.Display(r, protocol.DisplayVersion, "en", "Europe/Berlin")
	p.ts.Check(err)
	compact, err := protocol.SignDecision(p.key(p.Approval), &protocol.Decision{
		Issuer: r.Audience, Audience: r.Issuer, Subject: r.Subject, ID: r.ID, IssuedAt: time.Now().Unix(),
		Request: protocol.Hash([]byte(list.Requests[0])), Display: record.Hash(), DisplayVersion: protocol.DisplayVersion,
		Language: "en", TimeZone: "Europe/Berlin", Decision: protocol.Approve, Number: number, Prev: protocol.NoPrev,
		UV: protocol.UV{Method: protocol.UVPIN, Class: protocol.C2, Surface: protocol.SurfaceTTY},
	})
	p.ts.Check(err)
	p.call(http.MethodPost, url+"/"+r.ID+"/decision", protocol.MediaTypeJOSE, []byte(compact))
}

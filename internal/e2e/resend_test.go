package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/protocol"
)

func itoa(n int) string { return strconv.Itoa(n) }

// impostor speaks the device API with the very keys of an enrolled device, in
// place of its service, which it has killed: the TPM is a thief's here.
type impostor struct {
	t       *testing.T
	keys    *tpm.Provider
	profile storedProfile
	http    *http.Client
}

func (d *device) impostor(t *testing.T) *impostor {
	t.Helper()
	i := &impostor{t: t, profile: d.profile()}
	d.proc.kill()
	var err error
	if i.keys, err = tpm.Open(d.wire.Spec()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.keys.Close() })
	root, err := x509.ParseCertificate(i.profile.Root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	cert := tls.Certificate{Certificate: i.profile.DeviceChain, PrivateKey: hsm.Signer(context.Background(), i.key("device.pem"), hsm.Auth{})}
	i.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}}}
	return i
}

func (i *impostor) key(file string) hsm.Key {
	i.t.Helper()
	ref, err := os.ReadFile(filepath.Join(i.profile.dir, file))
	if err != nil {
		i.t.Fatal(err)
	}
	key, err := i.keys.Open(context.Background(), ref)
	if err != nil {
		i.t.Fatal(err)
	}
	return key
}

func (i *impostor) post(id, compact string) (int, string) {
	i.t.Helper()
	resp, err := i.http.Post(i.profile.DeviceURL+protocol.PathRequests+"/"+id+"/decision", protocol.MediaTypeJOSE, bytes.NewReader([]byte(compact)))
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestResentDecision sends the decision's bytes again, and then another
// decision: the first get the same receipt, the second a conflict.
func TestResentDecision(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
	ev := p.get(tx.ID).Evidence
	signs := d.approvalSigns()
	i := d.impostor(t)
	for range 3 {
		status, body := i.post(tx.ID, ev.Decision)
		var got protocol.Accepted
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || got.Receipt != ev.Receipt {
			t.Fatalf("the same bytes again: %d %s, want the receipt of the first time", status, body)
		}
	}
	if n := d.approvalSigns(); n != signs {
		t.Errorf("sending again signed again: %d signatures, want %d", n, signs)
	}
	cert, err := x509.ParseCertificate(i.profile.ApprovalChain[0])
	if err != nil {
		t.Fatal(err)
	}
	keys, err := protocol.NewKeys(cert.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := protocol.ParseDecision(ev.Decision, keys)
	if err != nil {
		t.Fatal(err)
	}
	other.Decision, other.Reason, other.Number = protocol.Deny, protocol.ReasonCancelled, ""
	other.Prev = protocol.Hash([]byte(ev.Decision)) // the next, not another in its place
	other.UV = protocol.UV{Method: protocol.UVNone, Class: protocol.C0, Surface: protocol.SurfaceCLI}
	compact, err := protocol.SignDecision(hsm.Signer(context.Background(), i.key("device.pem"), hsm.Auth{}), other)
	if err != nil {
		t.Fatal(err)
	}
	status, body := i.post(tx.ID, compact)
	var problem protocol.Problem
	if err := json.Unmarshal([]byte(body), &problem); err != nil || status != http.StatusConflict || problem.State != protocol.StateApproved {
		t.Errorf("another decision: %d %s, want 409 with the state approved", status, body)
	}
	if got := p.now(tx.ID); got.Status != "approved" || got.Evidence.Receipt != ev.Receipt {
		t.Errorf("the transaction is now %s", got.raw)
	}
}

package attest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

// enrollment is one attestation as it crosses the wire, with what the server
// knows of it.
type enrollment struct {
	trust         attest.Trust
	start, proof  []byte // JSON
	nonce, secret []byte
	keys          attest.Keys
}

func trust(roots ...*x509.Certificate) attest.Trust {
	t := attest.Trust{Roots: x509.NewCertPool(), Now: time.Now()}
	for _, c := range roots {
		t.Roots.AddCert(c)
	}
	return t
}

// verify does what a server does with the two documents.
func (e *enrollment) verify() (attest.Findings, error) {
	c := attest.TPM2Case{Nonce: e.nonce, Secret: e.secret, Keys: e.keys}
	var start protocol.StartAttestation
	if err := protocol.DecodeStrict(e.start, &start); err != nil {
		return attest.Findings{}, err
	}
	var proof protocol.ProofAttestation
	if err := protocol.DecodeStrict(e.proof, &proof); err != nil {
		return attest.Findings{}, err
	}
	if start.Format != protocol.AttestationTPM2 || start.TPM2 == nil || start.PIV != nil || proof.TPM2 == nil || proof.PIV != nil {
		return attest.Findings{}, &protocol.Problem{Code: protocol.ProblemAttestation}
	}
	c.Start, c.Proof = *start.TPM2, *proof.TPM2
	return attest.VerifyTPM2(e.trust, c)
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random32() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

const pinText = "493817"

func template(pinBound bool) hsm.Template {
	return hsm.Template{Auth: hsm.Auth{PIN: secret.New([]byte(pinText))}, PINBound: pinBound}
}

// openTPM opens a TPM through the back end that ships.
func openTPM(t testing.TB, spec string) *tpm.Provider {
	t.Helper()
	p, err := tpm.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func create(t testing.TB, p hsm.Provider, tmpl hsm.Template) hsm.Key {
	t.Helper()
	k, err := p.Create(t.Context(), tmpl)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// startOf is a claim as an agent sends it.
func startOf(c hsm.Claim) *protocol.TPM2Start {
	start := &protocol.TPM2Start{AK: c.AK}
	for _, der := range c.Endorsement {
		start.EKChain = append(start.EKChain, der)
	}
	return start
}

func tpm2Key(k hsm.KeyProof) *protocol.TPM2Key {
	return &protocol.TPM2Key{Public: k.Public, Creation: k.Creation, Attest: k.Attest, Signature: k.Signature}
}

// enroll proves keys from beginning to end: device, approval, or both.
func enroll(t testing.TB, p *tpm.Provider, trust attest.Trust, device, approval hsm.Key) *enrollment {
	t.Helper()
	var keys []hsm.Key
	e := &enrollment{trust: trust, nonce: random32()}
	if device != nil {
		keys, e.keys.Device = append(keys, device), device.Public()
	}
	if approval != nil {
		keys, e.keys.Approval = append(keys, approval), approval.Public()
	}
	claim, err := p.Claim(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	e.start = mustJSON(t, protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: startOf(claim)})
	credential, secret, err := attest.OpenTPM2(trust, *startOf(claim))
	if err != nil {
		t.Fatalf("OpenTPM2: %v", err)
	}
	e.secret = secret
	challenge := hsm.Challenge{Nonce: e.nonce, Credential: credential.Blob, Secret: credential.Secret}
	answer, err := p.Prove(t.Context(), claim, challenge, keys, hsm.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	proof := &protocol.TPM2Proof{Secret: answer.Secret}
	for i, k := range answer.Keys {
		if keys[i] == device {
			proof.Device = tpm2Key(k)
			continue
		}
		proof.Approval = tpm2Key(k)
		if x := k.Index; x != nil {
			proof.Index = &protocol.TPM2Index{Public: x.Public, Authority: x.Authority, Attest: x.Attest, Signature: x.Signature}
		}
	}
	e.proof = mustJSON(t, protocol.ProofAttestation{TPM2: proof})
	return e
}

// rsaOf is the same for servers that take only RSA.
func rsaOf(t hsm.Template) hsm.Template {
	t.Algorithm = hsm.RS256
	return t
}

// A chip from a factory, the back end that ships, and a server that trusts the
// factory: what the server learns of each key.
func TestTPM2EndToEnd(t *testing.T) {
	chip, maker := testenv.StartManufacturedTPM(t)
	p := openTPM(t, chip.Spec())
	device, approval := create(t, p, template(false)), create(t, p, template(true))
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deviceRSA, approvalRSA := create(t, p, rsaOf(template(false))), create(t, p, rsaOf(template(true)))
	isChip := protocol.Chip{Vendor: "id:00001014", Model: "swtpm", Firmware: status.Firmware}
	onDevice := &attest.Finding{Format: "tpm2", Chip: isChip}
	onApproval := &attest.Finding{Format: "tpm2", PINBound: true, PINCounter: "index", Chip: isChip}
	for name, tt := range map[string]struct {
		device, approval hsm.Key
		want             attest.Findings
	}{
		"both keys":                {device, approval, attest.Findings{Device: onDevice, Approval: onApproval}},
		"both keys RSA":            {deviceRSA, approvalRSA, attest.Findings{Device: onDevice, Approval: onApproval}},
		"one of them RSA":          {device, approvalRSA, attest.Findings{Device: onDevice, Approval: onApproval}},
		"approval key on a token":  {device, nil, attest.Findings{Device: onDevice}},
		"renewal of the PIN's key": {nil, approval, attest.Findings{Approval: onApproval}},
	} {
		t.Run(name, func(t *testing.T) {
			e := enroll(t, p, trust(maker.Issuer), tt.device, tt.approval)
			got, err := e.verify()
			if err != nil {
				t.Fatal(err)
			}
			if want := mustJSON(t, tt.want); !bytes.Equal(mustJSON(t, got), want) {
				t.Errorf("found\n%s\nwant\n%s", mustJSON(t, got), want)
			}
		})
	}
}

// A chip that does not know PIN indices: its keys are attested, and the PIN is
// not called bound.
func TestTPM2EndToEndWithoutPINIndex(t *testing.T) {
	chip, maker := testenv.StartManufacturedTPM(t)
	rec := testenv.RecordTPM(t, chip)
	rec.Answer(tpm2.TPMCCNVDefineSpace, tpm2.TPMRCAttributes)
	p := openTPM(t, rec.Spec())
	for _, tmpl := range []hsm.Template{template(true), rsaOf(template(true))} {
		e := enroll(t, p, trust(maker.Issuer), create(t, p, template(false)), create(t, p, tmpl))
		found, err := e.verify()
		if err != nil {
			t.Fatal(err)
		}
		if f := found.Approval; f.PINBound || f.PINCounter != protocol.PINCounterLockout {
			t.Errorf("found %+v", f)
		}
	}
}

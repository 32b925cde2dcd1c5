package tokenserver_test

import (
	"bytes"
	"net/http"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// chip is a real TPM that plays the agent's part in an attestation.
type chip struct {
	t *testing.T
	*tpm.Provider
	// keys are the device key and, where it is in the TPM too, the approval
	// key.
	keys  []hsm.Key
	claim hsm.Claim
}

func newChip(t *testing.T, s *servertest.Server, pinBound ...bool) *chip {
	t.Helper()
	emulator, maker := testenv.StartManufacturedTPM(t)
	s.Trust((&attesttest.CA{Certificate: maker.Issuer}).PEM())
	p, err := tpm.Open(emulator.Spec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	c := &chip{t: t, Provider: p}
	for _, bound := range pinBound {
		key, err := p.Create(t.Context(), hsm.Template{PINBound: bound, Auth: pin()})
		if err != nil {
			t.Fatal(err)
		}
		c.keys = append(c.keys, key)
	}
	if c.claim, err = p.Claim(t.Context(), c.keys); err != nil {
		t.Fatal(err)
	}
	return c
}

func pin() hsm.Auth { return hsm.Auth{PIN: secret.New([]byte("493817"))} }

func (c *chip) csr(i int) []byte { return csr(c.t, hsm.Signer(c.t.Context(), c.keys[i], pin())) }

func (c *chip) start() *protocol.TPM2Start {
	out := &protocol.TPM2Start{AK: c.claim.AK}
	for _, der := range c.claim.Endorsement {
		out.EKChain = append(out.EKChain, der)
	}
	return out
}

func (c *chip) prove(s protocol.EnrollmentStarted) *protocol.TPM2Proof {
	c.t.Helper()
	return tpmProof(c.answer(s), 0, 1)
}

// answer is what the TPM says to the server's challenge.
func (c *chip) answer(s protocol.EnrollmentStarted) hsm.Proof {
	c.t.Helper()
	if s.Credential == nil {
		c.t.Fatal("the server sent no credential")
	}
	challenge := hsm.Challenge{Nonce: s.Challenge, Credential: s.Credential.Blob, Secret: s.Credential.Secret}
	answer, err := c.Prove(c.t.Context(), c.claim, challenge, c.keys, pin())
	if err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// tpmProof has the device key's proof and the approval key's at these places,
// where they are.
func tpmProof(answer hsm.Proof, device, approval int) *protocol.TPM2Proof {
	key := func(k hsm.KeyProof) *protocol.TPM2Key {
		return &protocol.TPM2Key{Public: k.Public, Creation: k.Creation, Attest: k.Attest, Signature: k.Signature}
	}
	out := &protocol.TPM2Proof{Secret: answer.Secret}
	if device >= 0 {
		out.Device = key(answer.Keys[device])
	}
	if approval < len(answer.Keys) {
		out.Approval = key(answer.Keys[approval])
		x := answer.Keys[approval].Index
		out.Index = &protocol.TPM2Index{Public: x.Public, Authority: x.Authority, Attest: x.Attest, Signature: x.Signature}
	}
	return out
}

func TestEnrollmentOfATPM(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	c, d, secret := newChip(t, s, false, true), newDevice(t, s), token(s.Invite(alice))
	body := d.startBody(secret)
	body.DeviceCSR, body.ApprovalCSR = c.csr(0), c.csr(1)
	body.Attestation = protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: c.start()}
	var started protocol.EnrollmentStarted
	a := d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated)
	a.decode(t, &started)
	// The credential is drawn at random, and must be the same one.
	if b := d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated); !bytes.Equal(a.body, b.body) {
		t.Errorf("the same body is answered with %s and %s", a.body, b.body)
	}
	path, proof := protocol.PathEnrollments+"/"+started.ID+"/activation", c.prove(started)
	wrong := *proof
	wrong.Secret = bytes.Repeat([]byte{1}, len(proof.Secret))
	d.post(path, protocol.Activation{Token: secret, Attestation: &protocol.ProofAttestation{TPM2: &wrong}}).
		refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	d.post(path, protocol.Activation{Token: secret, Attestation: &protocol.ProofAttestation{TPM2: proof}}).
		want(t, http.StatusOK).decode(t, &d.enrolled)
	v := d.enrolled.Attestation
	if v.Format != "tpm2" || !v.Attested || !v.PINBound || v.PINCounter != protocol.PINCounterIndex || v.Chip.Model != "swtpm" || v.Chip.Firmware == "" {
		t.Errorf("the verdict is %+v", v)
	}
	devices, err := s.Desk.Devices(t.Context(), "alice")
	if err != nil || devices[0].DeviceVerdict.PINBound || !devices[0].DeviceVerdict.Attested {
		t.Errorf("the device is %+v, %v", devices, err)
	}
}

// TestEnrollmentOfATokenBesideATPM has each key where it is usual: the one that
// is used all day in the TPM, the one that a person uses on the token.
func TestEnrollmentOfATokenBesideATPM(t *testing.T) {
	s, ca := maker(t)
	c, d, secret := newChip(t, s, false), newTokenDevice(t, s, ca, true), token(s.Invite(alice))
	body := d.startBody(secret)
	body.DeviceCSR = c.csr(0)
	body.Attestation.PIV.Device, body.Attestation.TPM2 = nil, c.start()
	var started protocol.EnrollmentStarted
	d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated).decode(t, &started)
	path := protocol.PathEnrollments + "/" + started.ID + "/activation"
	proof := &protocol.ProofAttestation{
		TPM2: c.prove(started), PIV: &protocol.PIVProof{Approval: attesttest.Sign(t, d.approval, started.Challenge)},
	}
	for name, half := range map[string]*protocol.ProofAttestation{"no token": {TPM2: proof.TPM2}, "no TPM": {PIV: proof.PIV}} {
		if a := d.post(path, protocol.Activation{Token: secret, Attestation: half}); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	d.post(path, protocol.Activation{Token: secret, Attestation: proof}).want(t, http.StatusOK).decode(t, &d.enrolled)
	if d.enrolled.Attestation != approvalVerdict(true) {
		t.Errorf("the approval key is %+v", d.enrolled.Attestation)
	}
	devices, err := s.Desk.Devices(t.Context(), "alice")
	if err != nil || devices[0].DeviceVerdict.Format != "tpm2" || devices[0].DeviceVerdict.Chip.Model != "swtpm" {
		t.Errorf("the device key is %+v, %v", devices[0].DeviceVerdict, err)
	}

	// Each class is judged by the key that it is approved with.
	for name, want := range map[string]int{"login": http.StatusUnprocessableEntity, "confirm": http.StatusCreated} {
		set(t, s, name, func(typ *store.Type) { typ.DenyVendors = []string{"Yubico"} })
		a := newParty(t, s, name).post("/v1/transactions", map[string]any{"type": name, "user": "alice", "message": "m"})
		if a.status != want {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestUnknownTPMIsRefusedAtOnce(t *testing.T) {
	s, other := startWithAlice(t, enroll.Policy{}), startWithAlice(t, enroll.Policy{})
	c, d := newChip(t, other, false, true), newDevice(t, s)
	body := d.startBody(token(s.Invite(alice)))
	body.DeviceCSR, body.ApprovalCSR = c.csr(0), c.csr(1)
	body.Attestation = protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: c.start()}
	d.post(protocol.PathEnrollments, body).refused(t, http.StatusUnprocessableEntity, protocol.ProblemMaker)
}

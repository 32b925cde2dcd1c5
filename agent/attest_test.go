package agent

import (
	"context"
	"errors"
	"slices"
	"testing"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// attestingChip is a softProvider that proves things.
type attestingChip struct {
	*softProvider
	format string
	claims error
	// unproven is what Prove meets.
	unproven error
}

func (c *attestingChip) Claim(_ context.Context, keys []hsm.Key) (hsm.Claim, error) {
	claim := hsm.Claim{Format: c.format, Endorsement: [][]byte{[]byte("EK")}, AK: []byte("AK"), Resume: []byte("resume")}
	for _, k := range keys {
		claim.Chains = append(claim.Chains, [][]byte{append([]byte("slot of "), k.Reference()...), []byte("maker")})
	}
	return claim, c.claims
}

func (c *attestingChip) Prove(_ context.Context, claim hsm.Claim, challenge hsm.Challenge, keys []hsm.Key, auth hsm.Auth) (hsm.Proof, error) {
	if c.format == hsm.FormatPIV && auth.PIN.Empty() {
		return hsm.Proof{}, hsm.ErrPINRequired
	}
	if string(claim.Resume) != "resume" {
		return hsm.Proof{}, errors.New("the claim was lost")
	}
	p := hsm.Proof{Secret: challenge.Secret}
	for _, k := range keys {
		p.Keys = append(p.Keys, hsm.KeyProof{Public: k.Reference(), Signature: append(k.Reference(), challenge.Nonce...)})
	}
	p.Keys[len(keys)-1].Index = &hsm.IndexProof{Public: []byte("index")}
	return p, c.unproven
}

// enrollment has keys made in these chips, durable, with the challenge there.
func enrollmentIn(t *testing.T, k *kit, device, approval hsm.Provider) *enrolling {
	t.Helper()
	k.agent.chips = chips{device, approval}
	k.agent.reserved = newReservations(k.dir, k.agent.chips, k.agent.cfg.Log)
	n := &enrolling{Enrollment: &state.Enrollment{UID: testUID}, agent: k.agent, log: k.agent.cfg.Log, auth: pinAuth()}
	if err := n.prepare(t.Context(), plan{device: device, approval: approval, template: hsm.Template{PINBound: true}}); err != nil {
		t.Fatal(err)
	}
	n.ID, n.Challenge = "e_12345678", []byte("nonce")
	n.Credential = &protocol.Credential{Blob: protocol.Blob("blob"), Secret: protocol.Blob("secret")}
	return n
}

// TestAttestationOfATokenBesideATPM has both members, each with its own key.
func TestAttestationOfATokenBesideATPM(t *testing.T) {
	k := newKit(t)
	tpm := &attestingChip{softProvider: newSoftProvider(kindTPM), format: hsm.FormatTPM2}
	piv := &attestingChip{softProvider: newSoftProvider(kindPIV), format: hsm.FormatPIV}
	n := enrollmentIn(t, k, tpm, piv)
	start := n.Start.Attestation
	if start.Format != protocol.AttestationPIV || start.TPM2 == nil || start.PIV == nil || start.PIV.Device != nil {
		t.Fatalf("the first step says %+v", start)
	}
	if string(start.TPM2.AK) != "AK" || string(start.PIV.Approval[0]) != "slot of piv key 1" || len(start.PIV.Approval) != 2 {
		t.Errorf("the first step says %+v %+v", start.TPM2, start.PIV)
	}
	if err := n.prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := n.Proof
	if string(p.TPM2.Secret) != "secret" || string(p.TPM2.Device.Signature) != "tpm key 1nonce" || p.TPM2.Approval != nil || p.TPM2.Index != nil {
		t.Errorf("the TPM proves %+v", p.TPM2)
	}
	if string(p.PIV.Approval) != "piv key 1nonce" || p.PIV.Device != nil {
		t.Errorf("the token proves %+v", p.PIV)
	}
}

// TestAttestationOfOneChip proves both keys in it.
func TestAttestationOfOneChip(t *testing.T) {
	k := newKit(t)
	for _, format := range []string{hsm.FormatTPM2, hsm.FormatPIV} {
		c := &attestingChip{softProvider: newSoftProvider(map[string]string{hsm.FormatTPM2: kindTPM, hsm.FormatPIV: kindPIV}[format]), format: format}
		n := enrollmentIn(t, k, c, c)
		if err := n.prove(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := n.Proof
		switch format {
		case hsm.FormatTPM2:
			if p.PIV != nil || string(p.TPM2.Device.Public) != "tpm key 1" || string(p.TPM2.Approval.Public) != "tpm key 2" || string(p.TPM2.Index.Public) != "index" {
				t.Errorf("the TPM proves %+v", p.TPM2)
			}
		case hsm.FormatPIV:
			if p.TPM2 != nil || string(p.PIV.Device) != "piv key 1nonce" || string(p.PIV.Approval) != "piv key 2nonce" {
				t.Errorf("the token proves %+v", p.PIV)
			}
		}
	}
}

// TestNoAttestationIsSaid: format none with the reason; any other failure of a
// claim ends the enrollment and leaves no key.
func TestNoAttestationIsSaid(t *testing.T) {
	k := newKit(t)
	c := &attestingChip{softProvider: newSoftProvider(kindTPM), format: hsm.FormatTPM2, claims: hsm.ErrNoAttestation}
	n := enrollmentIn(t, k, c, c)
	if n.Start.Attestation.Format != protocol.AttestationNone || n.Unattested == "" || n.prove(t.Context()) != nil || n.Proof != nil {
		t.Errorf("got %+v, reason %q", n.Start.Attestation, n.Unattested)
	}
	before := c.held()
	c.claims = hsm.ErrNoMemory
	n = &enrolling{Enrollment: &state.Enrollment{UID: testUID}, agent: k.agent, log: k.agent.cfg.Log, auth: pinAuth()}
	err := n.prepare(t.Context(), plan{device: c, approval: c, template: hsm.Template{PINBound: true}})
	if !errors.Is(err, hsm.ErrNoMemory) || !slices.Equal(c.held(), before) {
		t.Errorf("got %v, keys %v", err, c.held())
	}
}

// TestCrashBeforeTheProof: a TPM proves later, without anybody; a token does
// not, and the enrollment ends with its keys deleted.
func TestCrashBeforeTheProof(t *testing.T) {
	for format, kind := range map[string]string{hsm.FormatTPM2: kindTPM, hsm.FormatPIV: kindPIV} {
		k := newKit(t)
		c := &attestingChip{softProvider: newSoftProvider(kind), format: format}
		n := enrollmentIn(t, k, c, c)
		if err := n.save(); err != nil {
			t.Fatal(err)
		}
		list, err := k.dir.Enrollments()
		if err != nil || len(list) != 1 {
			t.Fatalf("journal: %d, %v", len(list), err)
		}
		again := &enrolling{Enrollment: list[0], agent: k.agent, log: k.agent.cfg.Log}
		if format == hsm.FormatTPM2 {
			if err := again.prove(t.Context()); !again.provable() || err != nil || again.Proof == nil {
				t.Errorf("a TPM: %v", err)
			}
			continue
		}
		k.agent.resumeEnrollment(t.Context(), list[0])
		if left, _ := k.dir.Enrollments(); len(left) != 0 || len(c.held()) != 0 {
			t.Errorf("a token: %d enrollments, keys %v", len(left), c.held())
		}
	}
}

// TestPlanPrefersTheTPMForTheDeviceKey, and goes without where there is none.
func TestPlanPrefersTheTPMForTheDeviceKey(t *testing.T) {
	k := newKit(t)
	k.token = newSoftProvider(kindPIV)
	k.restart()
	p, err := k.agent.plan(t.Context(), enrollmentOf("piv:123"))
	if err != nil || p.device.Name() != kindTPM || p.approval.Name() != kindPIV || p.template.Token != "123" {
		t.Errorf("with a TPM: %+v, %v", p, err)
	}
	k.chip.set(func() { k.chip.err = hsm.ErrUnavailable })
	if p, err = k.agent.plan(t.Context(), enrollmentOf("piv")); err != nil || p.device.Name() != kindPIV {
		t.Errorf("without a TPM: %+v, %v", p, err)
	}
	if _, err = k.agent.plan(t.Context(), enrollmentOf("tpm")); err != nil {
		t.Errorf("the TPM: %v", err) // and facts will say that it is away
	}
	if _, err = k.agent.plan(t.Context(), enrollmentOf("file")); err == nil {
		t.Error("keys in files")
	}
}

// TestTokenMakesBothKeysWithItsSecrets: the PIN goes to both, and the old
// management key only as long as it is the token's.
func TestTokenMakesBothKeysWithItsSecrets(t *testing.T) {
	k := newKit(t)
	piv := newSoftProvider(kindPIV)
	k.agent.chips = chips{piv}
	k.agent.reserved = newReservations(k.dir, k.agent.chips, k.agent.cfg.Log)
	n := &enrolling{Enrollment: &state.Enrollment{UID: testUID}, agent: k.agent, log: k.agent.cfg.Log, auth: pinAuth()}
	n.auth.Admin = pinAuth().PIN
	if err := n.prepare(t.Context(), plan{device: piv, approval: piv, template: hsm.Template{PINBound: true, Touch: true, KeepAdmin: true}}); err != nil {
		t.Fatal(err)
	}
	device, approval := piv.asked[0], piv.asked[1]
	if device.PINBound || device.Touch || device.PIN.Empty() || device.Admin.Empty() || !device.KeepAdmin {
		t.Errorf("the device key: %+v", device)
	}
	if !approval.PINBound || !approval.Touch || approval.PIN.Empty() || !approval.Admin.Empty() {
		t.Errorf("the approval key: %+v", approval)
	}
	if len(n.Reserved) != 2 || k.dir.Reserved(n.Reserved[0]) || k.dir.Reserved(n.Reserved[1]) {
		t.Errorf("reservations of durable keys: %v", n.Reserved)
	}
}

func enrollmentOf(key string) ipc.Enrollment { return ipc.Enrollment{Key: key} }

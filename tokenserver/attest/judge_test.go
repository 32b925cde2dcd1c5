package attest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
	"countersign/tokenserver/attest"
)

func TestMembersFitTheFormat(t *testing.T) {
	d := newDesk(t)
	piv, noDevice := &d.c.Start, &protocol.PIVStart{Approval: d.c.Start.Approval}
	tpm, proof := &protocol.TPM2Start{}, &protocol.PIVProof{}
	for name, c := range map[string]struct {
		start protocol.StartAttestation
		proof *protocol.ProofAttestation
	}{
		"unknown format":           {protocol.StartAttestation{Format: "x"}, nil},
		"no format":                {protocol.StartAttestation{}, nil},
		"none with a member":       {protocol.StartAttestation{Format: "none", PIV: piv}, nil},
		"none with a proof":        {protocol.StartAttestation{Format: "none"}, &protocol.ProofAttestation{}},
		"none, proven":             {protocol.StartAttestation{Format: "none"}, &protocol.ProofAttestation{PIV: proof}},
		"tpm2 without":             {protocol.StartAttestation{Format: "tpm2"}, &protocol.ProofAttestation{}},
		"tpm2 with a token":        {protocol.StartAttestation{Format: "tpm2", TPM2: tpm, PIV: noDevice}, nil},
		"tpm2 that is a token":     {protocol.StartAttestation{Format: "tpm2", PIV: piv}, &protocol.ProofAttestation{PIV: proof}},
		"piv without":              {protocol.StartAttestation{Format: "piv"}, &protocol.ProofAttestation{}},
		"piv, device key nowhere":  {protocol.StartAttestation{Format: "piv", PIV: noDevice}, &protocol.ProofAttestation{PIV: proof}},
		"piv, device key twice":    {protocol.StartAttestation{Format: "piv", PIV: piv, TPM2: tpm}, nil},
		"piv, empty list":          {protocol.StartAttestation{Format: "piv", PIV: &protocol.PIVStart{Device: []protocol.Blob{}, Approval: piv.Approval}, TPM2: tpm}, nil},
		"proof missing":            {protocol.StartAttestation{Format: "piv", PIV: piv}, nil},
		"proof empty":              {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{}},
		"proof of something else":  {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{TPM2: &protocol.TPM2Proof{}}},
		"proof of something more":  {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{PIV: proof, TPM2: &protocol.TPM2Proof{}}},
		"the device key unproven":  {protocol.StartAttestation{Format: "piv", PIV: noDevice, TPM2: tpm}, &protocol.ProofAttestation{PIV: proof}},
		"the device key by itself": {protocol.StartAttestation{Format: "piv", PIV: noDevice, TPM2: tpm}, &protocol.ProofAttestation{TPM2: &protocol.TPM2Proof{}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attest.Verify(d.trust, attest.Case{Start: c.start, Proof: c.proof, Nonce: d.c.Nonce, Keys: d.c.Keys})
			wantRefusal(t, err)
		})
	}
}

// TestNewApprovalKeyAlone judges an approval key that takes an old one's place.
func TestNewApprovalKeyAlone(t *testing.T) {
	d := newDesk(t)
	d.c.Start.Device, d.c.Proof.Device, d.c.Keys.Device = nil, nil, nil
	start, proof := d.wire()
	got, err := judge(d.trust, d.c.Keys, d.c.Nonce, start, proof)
	if diff := cmp.Diff(attest.Findings{Approval: finding(false)}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	_, err = judge(d.trust, attest.Keys{Device: d.device.Public()}, d.c.Nonce, start, proof)
	wantRefusal(t, err)
}

func TestNoneIsNeverMore(t *testing.T) {
	start := protocol.StartAttestation{Format: protocol.AttestationNone}
	if o, err := attest.Open(attest.Trust{}, start, attest.Keys{}); err != nil || o.Credential != nil || o.Secret != nil {
		t.Errorf("opened as %+v, %v", o, err)
	}
	f, err := attest.Verify(attest.Trust{}, attest.Case{Start: start})
	if err != nil || f.Device != nil || f.Approval != nil {
		t.Errorf("found %+v, %v", f, err)
	}
	facts := protocol.DeviceFacts{Isolation: "service", Chip: protocol.Chip{Vendor: "v", Firmware: "9"}}
	want := protocol.Verdict{Format: "none", Isolation: "service", Chip: facts.Chip}
	if diff := cmp.Diff(want, attest.Verdict(nil, facts)); diff != "" {
		t.Error(diff)
	}
	v := attest.Verdict(finding(true), facts)
	if !v.Attested || !v.PINBound || !v.TouchBound || v.Chip.Vendor != "Yubico" || v.Isolation != "service" || v.Advisory == "" {
		t.Errorf("the verdict is %+v", v)
	}
}

package attest_test

import (
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

// What is made by TPM commands alone passes too, so that a forgery which is
// refused is refused for the one thing that was spoiled.
func TestWellMadeForgeriesPass(t *testing.T) {
	pinBound := attest.Finding{Format: "tpm2", PINBound: true, PINCounter: protocol.PINCounterIndex}
	for name, tt := range map[string]struct {
		change func(*forger)
		want   attest.Finding // of the approval key, but for the chip
	}{
		"P-256": {func(*forger) {}, pinBound},
		"RSA": {func(f *forger) {
			asRSA(&f.device, tpm2.TPMAlgRSASSA)
			asRSA(&f.approval, tpm2.TPMAlgRSASSA)
		}, pinBound},
		"under an RSA root":       {func(f *forger) { f.parent = tpm2.RSASRKTemplate }, pinBound},
		"wrong PINs were counted": {func(f *forger) { f.content[3] = 4 }, pinBound},
		"a PIN in the shared counter": {func(f *forger) {
			f.approval = signingArea(true, true)
			f.approval.ObjectAttributes.NoDA = false
			f.policy, f.auth = func(tpm2.TPM2BName) []byte { return nil }, []byte(pinText)
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) { p.Index = nil }
		}, attest.Finding{Format: "tpm2", PINCounter: protocol.PINCounterLockout}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			tt.change(f)
			got, err := f.make().verify()
			if err != nil {
				t.Fatal(err)
			}
			if got.Device == nil || got.Device.PINBound || got.Approval == nil {
				t.Fatalf("findings %+v", got)
			}
			tt.want.Chip = got.Approval.Chip
			if *got.Approval != tt.want || got.Approval.Chip.Vendor == "" {
				t.Errorf("approval key: %+v, want %+v", *got.Approval, tt.want)
			}
		})
	}
}

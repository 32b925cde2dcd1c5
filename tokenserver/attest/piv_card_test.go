//go:build cgo

package attest_test

import (
	"crypto"
	"crypto/x509"
	"testing"

	"github.com/go-piv/piv-go/v2/piv"
	"github.com/google/go-cmp/cmp"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/attest/attesttest"
)

// TestPIVOfACard has a card make, attest and use both keys behind the real
// pcscd.
func TestPIVOfACard(t *testing.T) {
	for firmware, advisory := range map[string]string{"5.4.3": "CVE-2024-45678", "5.7.1": ""} {
		t.Run(firmware, func(t *testing.T) {
			card := virtualpiv.New(t, virtualpiv.WithFirmware(firmware))
			testenv.StartPCSCD(t, card).Use()
			yk := openCard(t)
			c := attest.PIVCase{Nonce: random32()}
			c.Keys.Device, c.Start.Device, c.Proof.Device = useSlot(t, yk, 0x82, piv.PINPolicyNever, c.Nonce)
			c.Keys.Approval, c.Start.Approval, c.Proof.Approval = useSlot(t, yk, 0x83, piv.PINPolicyAlways, c.Nonce)
			got, err := attest.VerifyPIV(trust(card.Root()), c)
			if err != nil {
				t.Fatal(err)
			}
			chip := protocol.Chip{Vendor: "Yubico", Model: "YubiKey USB-A Keychain", Firmware: firmware}
			device, approval := deviceFinding(), finding(false)
			device.Chip, approval.Chip, device.Advisory, approval.Advisory = chip, chip, advisory, advisory
			if diff := cmp.Diff(attest.Findings{Device: device, Approval: approval}, got); diff != "" {
				t.Error(diff)
			}
			_, err = attest.VerifyPIV(trust(attesttest.Root(t, "Virtual PIV Root CA", nil).Certificate), c)
			wantRefusal(t, err)
		})
	}
}

func openCard(t *testing.T) *piv.YubiKey {
	t.Helper()
	cards, err := piv.Cards()
	if err != nil || len(cards) == 0 {
		t.Fatalf("cards: %v, %v", cards, err)
	}
	yk, err := piv.Open(cards[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = yk.Close() })
	return yk
}

// useSlot makes a key in a slot, attests it and has it sign the nonce.
func useSlot(t *testing.T, yk *piv.YubiKey, number uint32, pin piv.PINPolicy, nonce []byte) (crypto.PublicKey, []protocol.Blob, protocol.Blob) {
	t.Helper()
	slot, _ := piv.RetiredKeyManagementSlot(number)
	public, err := yk.GenerateKey(piv.DefaultManagementKey, slot, piv.Key{Algorithm: piv.AlgorithmEC256, PINPolicy: pin, TouchPolicy: piv.TouchPolicyNever})
	if err != nil {
		t.Fatal(err)
	}
	var chain []protocol.Blob
	for _, read := range []func() (*x509.Certificate, error){func() (*x509.Certificate, error) { return yk.Attest(slot) }, yk.AttestationCertificate} {
		cert, err := read()
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert.Raw)
	}
	key, err := yk.PrivateKey(slot, public, piv.KeyAuth{PIN: piv.DefaultPIN})
	if err != nil {
		t.Fatal(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		t.Fatalf("the key is %T", key)
	}
	return public, chain, attesttest.Sign(t, signer, nonce)
}

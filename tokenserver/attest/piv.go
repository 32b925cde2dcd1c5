package attest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"slices"

	"countersign/protocol"
)

// PIVCase is everything to judge a token's keys by.
type PIVCase struct {
	Start protocol.PIVStart
	Proof protocol.PIVProof
	Nonce []byte
	Keys  Keys
}

// pivKey is one of the two keys, with all that was sent about it.
type pivKey struct {
	role      string
	public    crypto.PublicKey
	chain     []protocol.Blob
	signature protocol.Blob
}

// openPIV judges the chains of a token, so that an unknown maker shows at once.
func openPIV(t Trust, start protocol.PIVStart) error {
	if _, err := verifyPIVChain(t, "approval", start.Approval); err != nil || start.Device == nil {
		return err
	}
	_, err := verifyPIVChain(t, "device", start.Device)
	return err
}

// VerifyPIV judges a token's proof: each key's slot was attested under a root,
// with a policy that its role takes, and the key signed the nonce. Keys.Device
// is nil where the device key is elsewhere; then nothing may be said of it.
func VerifyPIV(t Trust, c PIVCase) (Findings, error) {
	approval := pivKey{"approval", c.Keys.Approval, c.Start.Approval, c.Proof.Approval}
	device := pivKey{"device", c.Keys.Device, c.Start.Device, c.Proof.Device}
	if c.Keys.Device == nil {
		if len(device.chain) > 0 || len(device.signature) > 0 {
			return Findings{}, refused("the token says something of a device key that it does not hold")
		}
		slot, err := approval.verify(t, c.Nonce)
		if err != nil {
			return Findings{}, err
		}
		finding, err := slot.approvalFinding()
		return Findings{Approval: finding}, err
	}
	return verifyBoth(t, c.Nonce, device, approval)
}

func verifyBoth(t Trust, nonce []byte, device, approval pivKey) (f Findings, err error) {
	a, err := approval.verify(t, nonce)
	if err != nil {
		return f, err
	}
	d, err := device.verify(t, nonce)
	if err != nil {
		return f, err
	}
	// One token has one attestation key, and so what leads to the root is the
	// same too.
	sameIssuer := slices.EqualFunc(device.chain[1:], approval.chain[1:], func(x, y protocol.Blob) bool { return bytes.Equal(x, y) })
	if !sameIssuer || a.serial != d.serial || a.firmware != d.firmware || a.form != d.form {
		return f, refused("the device key and the approval key are on two tokens")
	}
	if f.Device, err = d.deviceFinding(); err != nil {
		return f, err
	}
	f.Approval, err = a.approvalFinding()
	return f, err
}

// verify checks everything about a key but its policy.
func (k pivKey) verify(t Trust, nonce []byte) (pivSlot, error) {
	leaf, err := verifyPIVChain(t, k.role, k.chain)
	if err != nil {
		return pivSlot{}, err
	}
	public, ok := k.public.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return pivSlot{}, refused("the %s key is not the one that the token attests", k.role)
	}
	// The certificate's method is there to verify any signature by its key.
	algorithm := x509.ECDSAWithSHA256
	if leaf.PublicKeyAlgorithm == x509.RSA {
		algorithm = x509.SHA256WithRSA
	}
	if leaf.CheckSignature(algorithm, protocol.PIVChallenge(nonce), k.signature) != nil {
		return pivSlot{}, refused("the %s key did not sign the challenge", k.role)
	}
	return readPIVSlot(k.role, leaf)
}

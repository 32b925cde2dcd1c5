package attest

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"

	"countersign/protocol"
	"countersign/tokenserver/problem"
)

// Machine is a TPM that speaks for a machine, as it presents itself.
type Machine struct {
	// EK is the endorsement key's SubjectPublicKeyInfo, Chain its certificate and
	// what leads towards the root, or empty.
	EK    protocol.Blob
	Chain []protocol.Blob
	AK    protocol.Blob
}

// OpenMachine judges how the attestation of a machine begins: with an endorsement
// key, of which certified says whether a maker trusted here has certified it, and
// an attestation key that only attests. A certificate of a maker that nobody here
// knows says nothing; one that does not hold is refused.
func OpenMachine(t Trust, m Machine) (o Opened, certified bool, err error) {
	ek, certified, err := t.machine(m)
	if err != nil {
		return Opened{}, false, err
	}
	credential, secret, err := challenge(ek, m.AK)
	if err != nil {
		return Opened{}, false, err
	}
	return Opened{&credential, secret}, certified, nil
}

// MachineCase is everything to judge a machine's key by.
type MachineCase struct {
	// Machine is what OpenMachine was given.
	Machine Machine
	// Opened is the secret that the device found in the credential, Key its proof
	// of the one key.
	Opened protocol.Blob
	Key    protocol.TPM2Key
	// Nonce is the challenge, Secret what OpenMachine put into the credential.
	Nonce, Secret []byte
	Public        crypto.PublicKey
}

// VerifyMachine judges a machine's proof of its key: that it was made in the very
// chip that has the endorsement key, and stays there. It says once more whether a
// maker vouches for the chip: who did at first may be trusted no more.
func VerifyMachine(t Trust, c MachineCase) (f Finding, certified bool, err error) {
	if len(c.Nonce) != secretSize || len(c.Secret) != secretSize || c.Public == nil {
		return Finding{}, false, errors.New("attest: nonce and secret have 32 bytes, and there is a key")
	}
	if subtle.ConstantTimeCompare(c.Opened, c.Secret) != 1 {
		return Finding{}, false, refused("the TPM has not opened its credential")
	}
	ek, certified, err := t.machine(c.Machine)
	if err != nil {
		return Finding{}, false, err
	}
	ak, err := parseAttester(c.Machine.AK)
	if err != nil {
		return Finding{}, false, err
	}
	j := &tpm2Judge{ak: ak, nonce: c.Nonce}
	if err := j.key("machine key", &c.Key, c.Public, deviceKind()); err != nil {
		return Finding{}, false, err
	}
	f = Finding{Format: protocol.AttestationTPM2, Chip: ek.chip}
	f.Chip.Firmware = dotted(j.firmware)
	return f, certified, nil
}

// machine is who a machine's TPM claims to be.
func (t Trust) machine(m Machine) (*endorsement, bool, error) {
	key, err := x509.ParsePKIXPublicKey(m.EK)
	if err != nil {
		return nil, false, refused("the endorsement key cannot be read")
	}
	// One key has one name, or the same chip could come under several.
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(again, m.EK) {
		return nil, false, refused("the endorsement key cannot be read")
	}
	public, _, err := endorsementKey(key)
	if err != nil {
		return nil, false, err
	}
	bare := &endorsement{public: public}
	if len(m.Chain) == 0 {
		return bare, false, nil
	}
	leaf, err := x509.ParseCertificate(m.Chain[0])
	if err != nil || !bytes.Equal(leaf.RawSubjectPublicKeyInfo, m.EK) {
		return nil, false, refused("the certificate is not one of this endorsement key")
	}
	whole, err := t.endorsement(m.Chain)
	if p, ok := errors.AsType[*protocol.Problem](err); ok && p.Code == protocol.ProblemMaker {
		return bare, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return whole, true, nil
}

// MachineEK reads an endorsement key as operators have it: PEM or DER of the
// public key or of its certificate. It returns the SubjectPublicKeyInfo.
func MachineEK(file []byte) ([]byte, error) {
	bad := problem.New(problem.BadEK, "this is neither an endorsement key (RSA of 2048 bits or P-256) nor its certificate, in PEM or DER")
	der := oneDER(file)
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, bad
		}
		key = cert.PublicKey
	}
	if _, _, err := endorsementKey(key); err != nil {
		return nil, bad
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, bad
	}
	return spki, nil
}

// oneDER is the DER in a file; what a chip's memory holds has padding behind it.
func oneDER(file []byte) []byte {
	if block, _ := pem.Decode(file); block != nil {
		return block.Bytes
	}
	var first asn1.RawValue
	if _, err := asn1.Unmarshal(file, &first); err != nil {
		return nil
	}
	return first.FullBytes
}

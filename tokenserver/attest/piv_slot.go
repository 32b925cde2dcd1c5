package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"countersign/protocol"
)

// What a slot's certificate says, in extensions of Yubico's. Only the serial
// number's value is DER.
func oidPIVFirmware() asn1.ObjectIdentifier   { return yubico(3) }
func oidPIVSerial() asn1.ObjectIdentifier     { return yubico(7) }
func oidPIVPolicy() asn1.ObjectIdentifier     { return yubico(8) }
func oidPIVFormFactor() asn1.ObjectIdentifier { return yubico(9) }

func yubico(arc int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}
}

// PIN and touch policies.
const (
	pinNever, pinAlways     = 1, 3
	touchNever, touchAlways = 1, 2
)

// pivSlot is what a token says of a key and of itself.
type pivSlot struct {
	role       string
	firmware   [3]byte
	serial     int64
	pin, touch byte
	form       byte
}

// readPIVSlot reads the extensions: each there once, not critical and in its
// only encoding.
func readPIVSlot(role string, cert *x509.Certificate) (pivSlot, error) {
	s := pivSlot{role: role}
	firmware, err := extension(cert, role, oidPIVFirmware(), len(s.firmware))
	if err != nil {
		return s, err
	}
	copy(s.firmware[:], firmware)
	policy, err := extension(cert, role, oidPIVPolicy(), 2)
	if err != nil {
		return s, err
	}
	s.pin, s.touch = policy[0], policy[1]
	form, err := extension(cert, role, oidPIVFormFactor(), 1)
	if err != nil {
		return s, err
	}
	if s.form = form[0]; s.model() == "" {
		return s, refused("the %s key's token has a form factor that is not known", role)
	}
	serial, err := extension(cert, role, oidPIVSerial(), 0)
	if err != nil {
		return s, err
	}
	s.serial, err = readSerial(role, serial)
	return s, err
}

// extension returns the value of an extension; a size of 0 is any.
func extension(cert *x509.Certificate, role string, id asn1.ObjectIdentifier, size int) ([]byte, error) {
	found := extensions(cert, id)
	if len(found) != 1 || size > 0 && len(found[0]) != size {
		return nil, refused("the %s key's attestation does not say what it must of the token: %s", role, id)
	}
	return found[0], nil
}

func extensions(cert *x509.Certificate, id asn1.ObjectIdentifier) (values [][]byte) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			values = append(values, e.Value)
		}
	}
	return values
}

func readSerial(role string, der []byte) (n int64, err error) {
	rest, err := asn1.Unmarshal(der, &n)
	again, _ := asn1.Marshal(n)
	if err != nil || len(rest) > 0 || n <= 0 || n > 1<<32-1 || !bytes.Equal(again, der) {
		return 0, refused("the %s key's attestation has no serial number of a token", role)
	}
	return n, nil
}

// deviceFinding judges the policy of a device key: it is used without any act
// of the user, and one that waits for a PIN or a touch would hang the service.
func (s pivSlot) deviceFinding() (*Finding, error) {
	if s.pin != pinNever || s.touch != touchNever {
		return nil, refused("the device key's slot does not have PIN policy never and touch policy never")
	}
	return s.finding(), nil
}

// approvalFinding judges the policy of an approval key. A PIN or touch that the
// token remembers is not given each time.
func (s pivSlot) approvalFinding() (*Finding, error) {
	if s.pin != pinAlways {
		return nil, refused("the approval key's slot does not have PIN policy always")
	}
	if s.touch != touchNever && s.touch != touchAlways {
		return nil, refused("the approval key's slot has neither touch policy always nor never")
	}
	f := s.finding()
	f.PINBound, f.PINCounter, f.TouchBound = true, protocol.PINCounterToken, s.touch == touchAlways
	return f, nil
}

func (s pivSlot) finding() *Finding {
	v := s.firmware
	return &Finding{
		Format: protocol.AttestationPIV, Advisory: s.advisory(),
		Chip: protocol.Chip{Vendor: "Yubico", Model: s.model(), Firmware: fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])},
	}
}

// Form factors, and the bit that marks the FIPS variant of each.
const (
	formBioA, formBioC = 6, 7
	formFIPS           = 0x80
)

// model names the form factor, or is "" for one that is not known.
func (s pivSlot) model() string {
	names := []string{"", "USB-A Keychain", "USB-A Nano", "USB-C Keychain", "USB-C Nano", "USB-C/Lightning Keychain", "USB-A Bio", "USB-C Bio"}
	n := s.form &^ formFIPS
	if n == 0 || int(n) >= len(names) {
		return ""
	}
	name := "YubiKey " + names[n]
	if s.form != n {
		name += " FIPS"
	}
	return name
}

// advisory names EUCLEAK, by which whoever has the token in hand for a while
// reads ECDSA keys out of it (Yubico's YSA-2024-03).
func (s pivSlot) advisory() string {
	fixed := [3]byte{5, 7, 0}
	if n := s.form &^ formFIPS; n == formBioA || n == formBioC {
		fixed = [3]byte{5, 7, 2}
	}
	if bytes.Compare(s.firmware[:], fixed[:]) < 0 {
		return "CVE-2024-45678"
	}
	return ""
}

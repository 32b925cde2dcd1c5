package piv

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
)

// applet is the PIV application of a card over a shared connection: the commands
// that change nothing and take no authority, and, once a management key was
// proved, those that piv-go has no call for.
type applet struct {
	exchanger
	firmware firmware
	serial   uint32
}

const (
	insSelect      = 0xa4
	insVerify      = 0x20
	insGetData     = 0xcb
	insPutData     = 0xdb
	insGenerate    = 0x47
	insAuth        = 0x87
	insAttest      = 0xf9
	insMetadata    = 0xf7
	insMoveKey     = 0xf6
	insVersion     = 0xfd
	insSerial      = 0xf8
	insOTPSerial   = 0x01
	byName         = 0x04 // P1 of SELECT
	toNowhere      = 0xff // P1 of MOVE KEY: delete
	p1Data, p2Data = 0x3f, 0xff
)

func pivApplication() []byte { return []byte{0xa0, 0x00, 0x00, 0x03, 0x08} }
func otpApplication() []byte { return []byte{0xa0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01} }

func selectApplication(x exchanger, id []byte) error {
	_, err := transmit(x, command{insSelect, byName, 0, id})
	return err
}

// openApplet selects the PIV application and asks which token this is. A card
// without it, or without Yubico's extensions, answers with a statusError.
func openApplet(x exchanger) (*applet, error) {
	if err := selectApplication(x, pivApplication()); err != nil {
		return nil, err
	}
	version, err := transmit(x, command{instruction: insVersion})
	if err != nil {
		return nil, err
	}
	if len(version) != len(firmware{}) {
		return nil, errResponse
	}
	a := &applet{exchanger: x, firmware: firmware(version)}
	a.serial, err = a.readSerial()
	return a, err
}

// readSerial asks the PIV application, and before firmware 5 the one for
// one-time passwords.
func (a *applet) readSerial() (serial uint32, err error) {
	ask := command{instruction: insSerial}
	if !a.firmware.since(5, 0) {
		if err := selectApplication(a, otpApplication()); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, selectApplication(a, pivApplication())) }()
		ask = command{instruction: insOTPSerial, p1: 0x10}
	}
	b, err := transmit(a, ask)
	if err != nil {
		return 0, err
	}
	if len(b) != 4 {
		return 0, errResponse
	}
	return binary.BigEndian.Uint32(b), nil
}

// metadata takes firmware 5.3.
func (a *applet) metadata(of byte) (*metadata, error) {
	b, err := transmit(a, command{instruction: insMetadata, p2: of})
	if err != nil {
		return nil, err
	}
	return parseMetadata(b)
}

// triesLeft asks without spending a try; -1 where the card does not tell, as
// while another program's PIN is still good.
func (a *applet) triesLeft() (int, error) {
	if a.firmware.hasMetadata() {
		m, err := a.metadata(refPIN)
		if err != nil {
			return -1, err
		}
		return m.tries, nil
	}
	_, err := transmit(a, command{instruction: insVerify, p2: refPIN})
	if sw := statusError(0); errors.As(err, &sw) {
		return triesOf(uint16(sw)), nil
	}
	return -1, err
}

// slotKey is the key on P-256 in a slot; nil where there is none that was
// generated there.
func (a *applet) slotKey(slot byte) (*ecdsa.PublicKey, error) {
	if a.firmware.hasMetadata() {
		m, err := a.metadata(slot)
		if isStatus(err, swNoReference) || isStatus(err, swNoFile) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return m.public, nil
	}
	der, err := transmit(a, command{instruction: insAttest, p1: slot})
	if isStatus(err, swBadData) || isStatus(err, swNoReference) || isStatus(err, swNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	key, _ := c.PublicKey.(*ecdsa.PublicKey)
	return key, nil
}

// check makes sure that the slot holds the key of the reference.
func (a *applet) check(r *reference) error {
	key, err := a.slotKey(r.slot)
	if err != nil {
		return fmt.Errorf("read the key of %s: %w", r.place(), err)
	}
	return r.compare(key)
}

// certificate is the one in a slot; nil where there is none or it is none.
func (a *applet) certificate(slot byte) (*x509.Certificate, error) {
	b, err := a.object(slotObject(slot))
	if err != nil || b == nil {
		return nil, err
	}
	objects, err := splitTLV(b)
	if err != nil {
		return nil, nil //nolint:nilerr // somebody else's object, of whatever kind
	}
	c, err := x509.ParseCertificate(objects[0x70])
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return c, nil
}

// object is the content of a data object; nil where there is none.
func (a *applet) object(tag [3]byte) ([]byte, error) {
	b, err := transmit(a, command{insGetData, p1Data, p2Data, appendTLV(nil, 0x5c, tag[:])})
	if isStatus(err, swNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return unwrapTLV(b, 0x53)
}

// slotObject names the certificate of a retired slot (SP 800-73-4 Part 1,
// Table 3).
func slotObject(slot byte) [3]byte { return [3]byte{0x5f, 0xc1, 0x0d + slot - firstSlot} }

// putObject writes a data object, and removes it where there is nothing to
// write. It takes the management key.
func (a *applet) putObject(tag [3]byte, content []byte) error {
	data := appendTLV(nil, 0x5c, tag[:])
	_, err := transmit(a, command{insPutData, p1Data, p2Data, appendTLV(data, 0x53, content)})
	return err
}

func (a *applet) putCertificate(slot byte, c *x509.Certificate) error {
	content := appendTLV(nil, 0x70, c.Raw)
	content = appendTLV(content, 0x71, []byte{0}) // not compressed
	return a.putObject(slotObject(slot), appendTLV(content, 0xfe, nil))
}

// deleteKey takes firmware 5.7 and the management key.
func (a *applet) deleteKey(slot byte) error {
	_, err := transmit(a, command{insMoveKey, toNowhere, slot, nil})
	if isStatus(err, swNoReference) || isStatus(err, swNoFile) {
		return nil
	}
	return err
}

// overwriteKey replaces the key of a slot by a new one. It is what a token that
// cannot delete keys can do to forget one. It takes the management key.
func (a *applet) overwriteKey(slot byte) (*ecdsa.PublicKey, error) {
	policies := []byte{0x80, 1, algorithmP256, 0xaa, 1, pinAlways, 0xab, 1, touchAlways}
	b, err := transmit(a, command{insGenerate, 0, slot, appendTLV(nil, 0xac, policies)})
	if err != nil {
		return nil, err
	}
	return parseGenerated(b)
}

// parseGenerated reads a new public key, under the tag 7F49.
func parseGenerated(b []byte) (*ecdsa.PublicKey, error) {
	if len(b) < 1 || b[0] != 0x7f {
		return nil, errTLV
	}
	content, err := unwrapTLV(b[1:], 0x49)
	if err != nil {
		return nil, err
	}
	return parsePoint(content)
}

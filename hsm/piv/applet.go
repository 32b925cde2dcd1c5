//go:build cgo

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

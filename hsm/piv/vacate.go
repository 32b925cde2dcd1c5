//go:build cgo

package piv

import "crypto/ecdsa"

// vacate empties a slot. It takes the management key.
func (a *applet) vacate(slot byte) error {
	if a.firmware.deletesKeys() {
		if err := a.deleteKey(slot); err != nil {
			return err
		}
		return a.putObject(slotObject(slot), nil)
	}
	key, err := a.slotKey(slot)
	if err != nil {
		return err
	}
	if key == nil {
		return a.putObject(slotObject(slot), nil)
	}
	if key, err = a.overwriteKey(slot); err != nil {
		return err
	}
	c, err := newMarker(markerDeleted, "", key)
	if err != nil {
		return err
	}
	return a.putCertificate(slot, c)
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

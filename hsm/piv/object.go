//go:build cgo

package piv

import "crypto/x509"

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

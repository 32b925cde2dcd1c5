package attest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"

	"countersign/protocol"
)

// chipOf reads which chip an endorsement key's certificate is for from its
// subject alternative name, which names a directory entry with the maker, the
// model and the version (TCG EK Credential Profile, 3.2.9). The extension is
// critical and the standard library does not understand it, so that it is ticked
// off here.
func chipOf(leaf *x509.Certificate) (protocol.Chip, error) {
	const manufacturer, model, version = "2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"
	attributes, ok := directoryName(leaf)
	if !ok || len(attributes) != 3 {
		return protocol.Chip{}, refused("the certificate of the endorsement key does not name its chip as it should")
	}
	vendor, ok := vendorName(attributes[manufacturer])
	if !ok || !printable(attributes[model]) || !printable(attributes[version]) {
		return protocol.Chip{}, refused("the certificate of the endorsement key does not name its chip as it should")
	}
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, subjectAltName().Equal)
	return protocol.Chip{Vendor: vendor, Model: attributes[model]}, nil
}

func subjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// directoryName returns the attributes of the one directory name among the
// subject's alternative names. Serial numbers of the hardware may stand beside
// it (RFC 4108, hardwareModuleName; RFC 4043, permanentIdentifier).
func directoryName(leaf *x509.Certificate) (attributes map[string]string, ok bool) {
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(subjectAltName()) })
	if i < 0 {
		return nil, false
	}
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(leaf.Extensions[i].Value, &names); err != nil || len(rest) != 0 {
		return nil, false
	}
	for _, name := range names {
		const otherName, directory = 0, 4
		switch {
		case name.Class != asn1.ClassContextSpecific:
			return nil, false
		case name.Tag == directory && attributes == nil:
			if attributes, ok = readAttributes(name.Bytes); !ok {
				return nil, false
			}
		case name.Tag == otherName && isSerial(name.Bytes):
		default:
			return nil, false
		}
	}
	return attributes, attributes != nil
}

func isSerial(otherName []byte) bool {
	var kind asn1.ObjectIdentifier
	_, err := asn1.Unmarshal(otherName, &kind)
	return err == nil && (kind.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}) ||
		kind.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}))
}

// readAttributes reads a Name whose attributes are texts, each there once.
func readAttributes(der []byte) (map[string]string, bool) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) != 0 {
		return nil, false
	}
	attributes := map[string]string{}
	for _, rdn := range rdns {
		for _, a := range rdn {
			text, ok := a.Value.(string)
			if _, twice := attributes[a.Type.String()]; !ok || twice {
				return nil, false
			}
			attributes[a.Type.String()] = text
		}
	}
	return attributes, true
}

// vendorName turns "id:49424D00" into "IBM", as the chip itself spells its
// maker. An id that is no text stays as it is.
func vendorName(id string) (string, bool) {
	digits, ok := strings.CutPrefix(id, "id:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != 4 {
		return "", false
	}
	if letters := string(bytes.TrimRight(raw, "\x00 ")); printable(letters) {
		return letters, true
	}
	return "id:" + strings.ToUpper(digits), true
}

// printable reports whether a text can be shown, and is short enough for it.
func printable(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) &&
		strings.TrimSpace(s) == s
}

package virtualpiv

import (
	"bytes"
	"encoding/binary"
)

// tlv encodes one BER-TLV object, with a tag of one or two bytes.
func tlv(tag uint16, value ...[]byte) []byte {
	var b []byte
	if tag > 0xff {
		b = append(b, byte(tag>>8))
	}
	b = append(b, byte(tag))
	joined := bytes.Join(value, nil)
	switch n := len(joined); {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0x82), uint16(n))
	}
	return append(b, joined...)
}

// field is one BER-TLV object with a tag of one byte, which is all that
// commands contain.
type field struct {
	tag   byte
	value []byte
}

// fields are the objects of a template, in their order.
type fields []field

// parseFields splits a template. It refuses one that does not end where its
// last object ends.
func parseFields(b []byte) (fields, bool) {
	var all fields
	for len(b) > 0 {
		value, rest, ok := splitLength(b[1:])
		if !ok {
			return nil, false
		}
		all = append(all, field{b[0], value})
		b = rest
	}
	return all, true
}

// splitLength reads a length and takes so many bytes from what follows.
func splitLength(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	n, size := int(b[0]), 1
	switch {
	case n == 0x81 && len(b) > 1:
		n, size = int(b[1]), 2
	case n == 0x82 && len(b) > 2:
		n, size = int(binary.BigEndian.Uint16(b[1:])), 3
	case n >= 0x80:
		return nil, nil, false
	}
	if len(b)-size < n {
		return nil, nil, false
	}
	return b[size : size+n], b[size+n:], true
}

// get returns the value of the first object with that tag.
func (f fields) get(tag byte) ([]byte, bool) {
	for _, one := range f {
		if one.tag == tag {
			return one.value, true
		}
	}
	return nil, false
}

// parseTemplate returns the objects in the only object of b, if that has the
// tag.
func parseTemplate(b []byte, tag byte) (fields, bool) {
	outer, ok := parseFields(b)
	if !ok || len(outer) != 1 || outer[0].tag != tag {
		return nil, false
	}
	return parseFields(outer[0].value)
}

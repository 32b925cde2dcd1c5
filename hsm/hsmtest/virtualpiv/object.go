package virtualpiv

import "slices"

// objectID is the tag of a data object (SP 800-73-4 part 1, table 3).
type objectID uint32

const (
	objectDiscovery   objectID = 0x7e
	objectAttestation objectID = 0x5fff01

	objectFingerprints objectID = 0x5fc103
	objectFacial       objectID = 0x5fc108
	objectPrinted      objectID = 0x5fc109
	objectIris         objectID = 0x5fc121
)

// maxObject is the size of the greatest object that a YubiKey takes.
const maxObject = 3052

// needsPIN reports whether only the card's holder may read the object. Programs
// keep the management key in the printed information, behind the PIN.
func (id objectID) needsPIN() bool {
	switch id {
	case objectFingerprints, objectFacial, objectPrinted, objectIris:
		return true
	default:
		return false
	}
}

// writable: the objects of the standard's and of Yubico's range.
func (id objectID) writable() bool { return id>>8 == 0x5fc1 || id>>8 == 0x5fff }

// discoveryObject says that the card has the PIV application and its own PIN
// (part 1, 3.3.2).
func discoveryObject() []byte {
	return slices.Concat(tlv(0x4f, applicationPIV.aid()), tlv(0x5f2f, []byte{0x40, 0x00}))
}

// certificateObject is a certificate as slots have it (part 1, table 10): not
// compressed, without a check sum.
func certificateObject(der []byte) []byte {
	return slices.Concat(tlv(0x70, der), tlv(0x71, []byte{0}), tlv(0xfe))
}

// getData is GET DATA (part 2, 3.1.2).
func (c *Card) getData(cmd command) ([]byte, status) {
	id, rest, sw := parseObjectID(cmd)
	switch {
	case sw != swOK:
		return nil, sw
	case len(rest) > 0:
		return nil, swWrongData
	case id.needsPIN() && !c.session.pinVerified:
		return nil, swSecurityStatus
	}
	object, ok := c.objects[id]
	if !ok {
		return nil, swNotFound
	}
	if id == objectDiscovery {
		return tlv(uint16(id), object), swOK
	}
	return tlv(0x53, object), swOK
}

// putData is PUT DATA (part 2, 3.3.1). An empty object is no object.
func (c *Card) putData(cmd command) status {
	id, rest, sw := parseObjectID(cmd)
	switch {
	case !c.session.managed:
		return swSecurityStatus
	case sw != swOK:
		return sw
	case !id.writable():
		return swNotFound
	case len(rest) != 1 || rest[0].tag != 0x53:
		return swWrongData
	case len(rest[0].value) > maxObject:
		return swNoMemory
	case len(rest[0].value) == 0:
		delete(c.objects, id)
	default:
		c.objects[id] = slices.Clone(rest[0].value)
	}
	return swOK
}

// parseObjectID reads which object a command means, and what follows.
func parseObjectID(cmd command) (objectID, fields, status) {
	if cmd.p1 != 0x3f || cmd.p2 != 0xff {
		return 0, nil, swWrongP1P2
	}
	in, ok := parseFields(cmd.data)
	if !ok || len(in) == 0 || in[0].tag != 0x5c || len(in[0].value) == 0 || len(in[0].value) > 3 {
		return 0, nil, swWrongData
	}
	var id objectID
	for _, b := range in[0].value {
		id = id<<8 | objectID(b)
	}
	return id, in[1:], swOK
}

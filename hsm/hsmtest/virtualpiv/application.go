package virtualpiv

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// application is one of the programs on the card.
type application int

const (
	applicationNone application = iota
	applicationPIV
	applicationManagement
	applicationOTP
)

// aid is the name by which an application is selected. A part from its
// beginning will do, if it has the length of a vendor's number at least.
func (a application) aid() []byte {
	switch a {
	case applicationPIV:
		return []byte{0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00}
	case applicationManagement:
		return []byte{0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17}
	case applicationOTP:
		return []byte{0xa0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01}
	default:
		return nil
	}
}

// selectApplication is SELECT (SP 800-73-4 part 2, 3.1.1).
func (c *Card) selectApplication(cmd command) ([]byte, status) {
	if cmd.p1 != 0x04 {
		return nil, swWrongP1P2
	}
	for _, a := range []application{applicationPIV, applicationManagement, applicationOTP} {
		if c.hasPIV && len(cmd.data) >= 5 && bytes.HasPrefix(a.aid(), cmd.data) {
			c.session = session{application: a}
			return c.greeting(a), swOK
		}
	}
	return nil, swNotFound
}

// greeting is what an application says when it is selected.
func (c *Card) greeting(a application) []byte {
	switch a {
	case applicationPIV:
		name := tlv(0x4f, applicationPIV.aid()[5:])
		authority := tlv(0x79, tlv(0x4f, applicationPIV.aid()[:5]))
		return tlv(0x61, name, authority)
	case applicationManagement:
		return fmt.Append(nil, "Virtual mgr - FW version ", c.firmware)
	default:
		return append(c.firmware[:], 0, 0, 0)
	}
}

func (c *Card) serialBytes() []byte { return binary.BigEndian.AppendUint32(nil, c.serial) }

// executeManagement knows READ CONFIG alone.
func (c *Card) executeManagement(cmd command) ([]byte, status) {
	if cmd.ins != 0x1d {
		return nil, swUnknownInstruction
	}
	config := bytes.Join([][]byte{
		tlv(0x01, []byte{0x02, 0x3f}), // what it could do over USB
		tlv(0x02, c.serialBytes()),
		tlv(0x04, []byte{formFactor}),
		tlv(0x05, c.firmware[:]),
	}, nil)
	return append([]byte{byte(len(config))}, config...), swOK
}

// executeOTP tells the serial number, which is where it is before firmware 5.
func (c *Card) executeOTP(cmd command) ([]byte, status) {
	if cmd.ins != 0x01 || cmd.p1 != 0x10 {
		return nil, swUnknownInstruction
	}
	return c.serialBytes(), swOK
}

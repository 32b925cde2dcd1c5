package virtualpiv

// status is the status word at the end of a response.
type status uint16

const (
	swOK                 status = 0x9000
	swMoreData           status = 0x6100 // with how many bytes in its low byte
	swTriesLeft          status = 0x63c0 // with how many in its low nibble
	swWrongLength        status = 0x6700
	swNoLogicalChannel   status = 0x6881
	swNoSecureMessaging  status = 0x6882
	swChainBroken        status = 0x6883
	swSecurityStatus     status = 0x6982
	swBlocked            status = 0x6983
	swConditions         status = 0x6985
	swWrongData          status = 0x6a80
	swNotFound           status = 0x6a82
	swNoMemory           status = 0x6a84
	swWrongP1P2          status = 0x6a86
	swReferenceNotFound  status = 0x6a88
	swUnknownInstruction status = 0x6d00
	swUnknownClass       status = 0x6e00
)

func (s status) bytes() []byte { return []byte{byte(s >> 8), byte(s)} }

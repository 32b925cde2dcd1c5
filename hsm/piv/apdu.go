//go:build cgo

package piv

import (
	"errors"
	"fmt"
)

// exchanger sends one command to a card and returns the response with its
// status word.
type exchanger interface {
	exchange(command []byte) ([]byte, error)
}

// statusError is a status word other than 9000 (ISO/IEC 7816-4, 5.1.3).
type statusError uint16

func (e statusError) Error() string { return fmt.Sprintf("card status %04x", uint16(e)) }

// Status is what piv-go's error for the same thing is asked, too.
func (e statusError) Status() uint16 { return uint16(e) }

// The status words that make a difference.
const (
	swOK              = 0x9000
	swNotSatisfied    = 0x6982 // a PIN, a key or a touch is missing
	swBlocked         = 0x6983
	swNoFile          = 0x6a82
	swNoMemory        = 0x6a84
	swNoReference     = 0x6a88
	swBadData         = 0x6a80
	swUnknownCommand  = 0x6d00
	swUnknownClass    = 0x6e00
	swTries           = 0x63c0 // and the number left
	swTriesMask       = 0xfff0
	swMoreMask        = 0xff00
	swMore            = 0x6100 // and how much
	maxData           = 255
	chained           = 0x10
	insGetResponse    = 0xc0
	longestResponse   = 64 << 10
	longestRemainders = 1024
)

var errResponse = errors.New("malformed response of the card")

// command is one command with at most some kilobytes of data.
type command struct {
	instruction, p1, p2 byte
	data                []byte
}

// transmit sends the command in as many parts as it takes and collects the
// response (ISO/IEC 7816-4, 5.1.1 and 5.3.4).
func transmit(x exchanger, c command) ([]byte, error) {
	for ; len(c.data) > maxData; c.data = c.data[maxData:] {
		if _, _, err := roundTrip(x, chained, c, c.data[:maxData]); err != nil {
			return nil, err
		}
	}
	response, more, err := roundTrip(x, 0, c, c.data)
	for n := 0; err == nil && more; n++ {
		if n > longestRemainders || len(response) > longestResponse {
			return nil, errResponse
		}
		var part []byte
		part, more, err = roundTrip(x, 0, command{instruction: insGetResponse}, nil)
		response = append(response, part...)
	}
	return response, err
}

func roundTrip(x exchanger, class byte, c command, data []byte) (response []byte, more bool, err error) {
	b := append([]byte{class, c.instruction, c.p1, c.p2, byte(len(data))}, data...)
	defer clear(b)
	if response, err = x.exchange(b); err != nil {
		return nil, false, err
	}
	if len(response) < 2 {
		return nil, false, errResponse
	}
	n := len(response) - 2
	switch sw := uint16(response[n])<<8 | uint16(response[n+1]); {
	case sw == swOK:
		return response[:n], false, nil
	case sw&swMoreMask == swMore:
		return response[:n], true, nil
	default:
		return nil, false, statusError(sw)
	}
}

//go:build cgo

package piv

// #cgo pkg-config: libpcsclite
// #include <stdlib.h>
// #include <winscard.h>
import "C"

import (
	"bytes"
	"fmt"
	"unsafe"
)

// piv-go opens cards exclusively, and leaks what it opened when the card turns
// out not to be a PIV token. So this is the little of PC/SC that it takes to
// look at a card in shared mode first, and to send what piv-go has no call for.

// pcscError is a result code of PC/SC.
type pcscError struct {
	call string
	code uint32
}

func (e *pcscError) Error() string { return fmt.Sprintf("%s: PC/SC error 0x%08X", e.call, e.code) }

func pcscCheck(call string, rc C.LONG) error {
	// LONG has 64 bits, and the library sign-extends or not as it likes.
	if code := uint32(rc); code != C.SCARD_S_SUCCESS {
		return &pcscError{call, code}
	}
	return nil
}

// pcscContext is a connection to pcscd.
type pcscContext struct{ c C.SCARDCONTEXT }

func establish() (*pcscContext, error) {
	var p pcscContext
	err := pcscCheck("SCardEstablishContext", C.SCardEstablishContext(C.SCARD_SCOPE_SYSTEM, nil, nil, &p.c))
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *pcscContext) release() { C.SCardReleaseContext(p.c) }

// readers names the readers, with and without a card.
func (p *pcscContext) readers() ([]string, error) {
	var size C.DWORD
	err := pcscCheck("SCardListReaders", C.SCardListReaders(p.c, nil, nil, &size))
	var names []byte
	if err == nil {
		names = make([]byte, size)
		err = pcscCheck("SCardListReaders", C.SCardListReaders(p.c, nil, (*C.char)(unsafe.Pointer(unsafe.SliceData(names))), &size))
	}
	if pcscCode(err) == codeNoReaders {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []string
	for name := range bytes.SplitSeq(names[:size], []byte{0}) {
		if len(name) > 0 {
			list = append(list, string(name))
		}
	}
	return list, nil
}

// pcscCard is a shared connection to a card.
type pcscCard struct {
	handle   C.SCARDHANDLE
	protocol C.DWORD
}

func (p *pcscContext) connect(reader string) (*pcscCard, error) {
	return p.connectAs(reader, C.SCARD_SHARE_SHARED)
}

// shareExclusive is for tests that play another program.
const shareExclusive = C.SCARD_SHARE_EXCLUSIVE

func (p *pcscContext) connectAs(reader string, mode C.DWORD) (*pcscCard, error) {
	name := C.CString(reader)
	defer C.free(unsafe.Pointer(name))
	var card pcscCard
	err := pcscCheck("SCardConnect", C.SCardConnect(p.c, name,
		mode, C.SCARD_PROTOCOL_T0|C.SCARD_PROTOCOL_T1, &card.handle, &card.protocol))
	if err != nil {
		return nil, err
	}
	return &card, nil
}

// disposition is what to do with a card when letting it go.
type disposition C.DWORD

// The dispositions.
const (
	leaveCard = disposition(C.SCARD_LEAVE_CARD)
	// resetCard makes it forget who has proved a PIN or a key.
	resetCard = disposition(C.SCARD_RESET_CARD)
)

func (c *pcscCard) disconnect(then disposition) { C.SCardDisconnect(c.handle, C.DWORD(then)) }

// begin keeps others from the card until end. It waits for others who do.
func (c *pcscCard) begin() error {
	return pcscCheck("SCardBeginTransaction", C.SCardBeginTransaction(c.handle))
}

func (c *pcscCard) end() { C.SCardEndTransaction(c.handle, C.SCARD_LEAVE_CARD) }

// exchange sends one command and returns the response with its status word.
func (c *pcscCard) exchange(command []byte) ([]byte, error) {
	send := C.SCARD_IO_REQUEST{dwProtocol: c.protocol, cbPciLength: C.sizeof_SCARD_IO_REQUEST}
	response := make([]byte, C.MAX_BUFFER_SIZE_EXTENDED)
	size := C.DWORD(len(response))
	err := pcscCheck("SCardTransmit", C.SCardTransmit(c.handle, &send,
		(*C.BYTE)(unsafe.SliceData(command)), C.DWORD(len(command)), nil,
		(*C.BYTE)(unsafe.SliceData(response)), &size))
	if err != nil {
		return nil, err
	}
	return response[:size], nil
}

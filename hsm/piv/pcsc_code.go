//go:build cgo

package piv

import (
	"errors"
	"fmt"
	"strings"

	"countersign/hsm"
)

// The result codes of PC/SC that make a difference.
const (
	codeInternal       = 0x80100001
	codeInvalidHandle  = 0x80100003
	codeUnknownReader  = 0x80100009
	codeSharing        = 0x8010000B
	codeNoCard         = 0x8010000C
	codeNotReady       = 0x80100010
	codeCommunication  = 0x80100013
	codeNotTransacted  = 0x80100016
	codeReaderGone     = 0x80100017
	codeNoService      = 0x8010001D
	codeServiceStopped = 0x8010001E
	codeNoReaders      = 0x8010002E
	codeDataLost       = 0x8010002F
	codeUnresponsive   = 0x80100066
	codeUnpowered      = 0x80100067
	codeReset          = 0x80100068
	codeRemoved        = 0x80100069
	codeDenied         = 0x8010006A
)

// pivGoTexts are the words of piv-go 2.6.0 for those codes: its error type
// gives away nothing else.
func pivGoTexts() map[string]uint32 {
	return map[string]uint32{
		"an internal consistency check failed":                                              codeInternal,
		"the supplied handle was invalid":                                                   codeInvalidHandle,
		"the specified reader name is not recognized":                                       codeUnknownReader,
		"the smart card cannot be accessed because of other connections outstanding":        codeSharing,
		"the operation requires a Smart Card, but no Smart Card is currently in the device": codeNoCard,
		"the reader or smart card is not ready to accept commands":                          codeNotReady,
		"an internal communications error has been detected":                                codeCommunication,
		"an attempt was made to end a non-existent transaction":                             codeNotTransacted,
		"the specified reader is not currently available for use":                           codeReaderGone,
		"the Smart card resource manager is not running":                                    codeNoService,
		"the Smart card resource manager has shut down":                                     codeServiceStopped,
		"cannot find a smart card reader":                                                   codeNoReaders,
		"a communications error with the smart card has been detected":                      codeDataLost,
		"the smart card is not responding to a reset":                                       codeUnresponsive,
		"power has been removed from the smart card":                                        codeUnpowered,
		"the smart card has been reset, so any shared state information is invalid":         codeReset,
		"the smart card has been removed, so further communication is not possible":         codeRemoved,
		"access was denied because of a security violation":                                 codeDenied,
		"unknown pcsc return code":                                                          codeInternal,
		"scard response too short":                                                          codeDataLost,
	}
}

// pcscCode finds the result code in an error of ours or of piv-go's; 0 where
// there is none.
func pcscCode(err error) uint32 {
	if err == nil {
		return 0
	}
	if own := (*pcscError)(nil); errors.As(err, &own) {
		return own.code
	}
	if statusOf(err) != 0 {
		return 0
	}
	for text, code := range pivGoTexts() {
		if strings.Contains(err.Error(), text) {
			return code
		}
	}
	return 0
}

// explain turns an error of PC/SC into the port's words. Others pass.
func explain(err error) error {
	if isReset(err) {
		return fmt.Errorf("%w: %w", hsm.ErrReset, err)
	}
	switch pcscCode(err) {
	case 0:
		return err
	case codeSharing:
		return fmt.Errorf("%w: %w", hsm.ErrBusy, err)
	case codeNoService, codeServiceStopped, codeInvalidHandle:
		return fmt.Errorf("%w: start pcscd (systemctl start pcscd.socket): %w", hsm.ErrNoService, err)
	case codeDenied:
		return fmt.Errorf("%w: polkit must grant this user org.debian.pcsc-lite.access_pcsc and access_card: %w", hsm.ErrPermission, err)
	case codeNoCard, codeRemoved, codeReaderGone, codeUnknownReader, codeNoReaders:
		return fmt.Errorf("%w: %w", hsm.ErrTokenAbsent, err)
	}
	return fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
}

// isReset reports that the card has lost what was selected and proved. pcscd
// does that to a card just inserted, even in the middle of a transaction: it
// takes its power back and gives it again. The card then knows no command, since
// it has no application to ask.
func isReset(err error) bool {
	return pcscCode(err) == codeReset || isStatus(err, swUnknownCommand) || isStatus(err, swUnknownClass)
}

// isVague reports codes that pcscd gives in the moment a card is pulled, before
// it has seen that; what they meant shows a little later.
func isVague(err error) bool {
	switch pcscCode(err) {
	case codeInternal, codeNotReady, codeCommunication, codeNotTransacted, codeDataLost, codeUnresponsive, codeUnpowered:
		return true
	}
	return false
}

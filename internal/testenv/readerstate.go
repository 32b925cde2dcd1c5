package testenv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// What pcscd tells its clients, of protocol 4.4 (winscard_msg.h and
// eventhandler.h of pcsc-lite). Asking it here needs no C library, and opens no
// card: a program under test that wants a card for itself is not disturbed.
const (
	cmdVersion         = 0x11
	cmdReaderStates    = 0x12
	protocolMajor      = 4
	protocolMinor      = 4
	stateSize          = 184 // of one READER_STATE
	stateCount         = 16  // PCSCLITE_MAX_READERS_CONTEXTS
	stateAbsent        = 0x02
	statePresent       = 0x04
	stateMute          = 0x08
	answerTimeout      = 10 * time.Second
	offsetState        = 132
	lengthOfReaderName = 128
)

// readerState is pcscd's bit field.
type readerState uint32

// usable: a card is there only after it has answered to power. That it has power
// now is not to be expected: the daemon takes it from a card that nobody uses.
func (s readerState) usable() bool { return s&(statePresent|stateMute) == statePresent }
func (s readerState) empty() bool  { return s&stateAbsent != 0 }

// readerStates asks the daemon for all its readers.
func readerStates(socket string) (map[string]readerState, error) {
	conn, err := net.DialTimeout("unix", socket, answerTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	hello := binary.NativeEndian.AppendUint32(nil, protocolMajor)
	hello = binary.NativeEndian.AppendUint32(hello, protocolMinor)
	hello = binary.NativeEndian.AppendUint32(hello, 0)
	answer, err := ask(conn, cmdVersion, hello, len(hello))
	if err != nil {
		return nil, err
	}
	if rv := binary.NativeEndian.Uint32(answer[8:]); rv != 0 {
		return nil, fmt.Errorf("pcscd speaks another protocol: 0x%08x", rv)
	}
	answer, err = ask(conn, cmdReaderStates, nil, stateCount*stateSize)
	if err != nil {
		return nil, err
	}
	return parseStates(answer), nil
}

// ask sends one message and reads an answer of known length.
func ask(conn net.Conn, command uint32, body []byte, answerLength int) ([]byte, error) {
	msg := binary.NativeEndian.AppendUint32(nil, uint32(len(body)))
	msg = binary.NativeEndian.AppendUint32(msg, command)
	if _, err := conn.Write(append(msg, body...)); err != nil {
		return nil, err
	}
	answer := make([]byte, answerLength)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

func parseStates(table []byte) map[string]readerState {
	states := map[string]readerState{}
	for row := range slices.Chunk(table, stateSize) {
		name, _, _ := bytes.Cut(row[:lengthOfReaderName], []byte{0})
		if len(name) > 0 {
			states[string(name)] = readerState(binary.NativeEndian.Uint32(row[offsetState:]))
		}
	}
	return states
}

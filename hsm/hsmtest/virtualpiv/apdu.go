package virtualpiv

import (
	"encoding/binary"
	"errors"
)

// command is a command APDU (ISO/IEC 7816-4, 5.1).
type command struct {
	cla byte
	ins Instruction
	p1  byte
	p2  byte
	// data is nil when there is none.
	data []byte
	// le is how many bytes the answer may have. A command that names no number
	// gets what fits, as cards do that speak T=1.
	le int
}

const (
	claChained = 0x10
	maxShort   = 256
	maxAnswer  = 0xffff - 2 // a reader's message has two bytes of length
)

var errLength = errors.New("the lengths in the command do not fit")

// parseCommand reads a command in short or extended form. Every byte must have
// its place.
func parseCommand(raw []byte) (command, error) {
	if len(raw) < 4 {
		return command{}, errLength
	}
	cmd := command{cla: raw[0], ins: Instruction(raw[1]), p1: raw[2], p2: raw[3], le: maxShort}
	body := raw[4:]
	switch {
	case len(body) == 0:
		return cmd, nil
	case len(body) == 1:
		cmd.le = orMax(int(body[0]), maxShort)
		return cmd, nil
	case body[0] != 0:
		return cmd.withBody(body[1:], int(body[0]), 1)
	case len(body) == 3:
		cmd.le = orMax(int(binary.BigEndian.Uint16(body[1:])), maxAnswer)
		return cmd, nil
	case len(body) > 3:
		cmd.le = maxAnswer
		return cmd.withBody(body[3:], int(binary.BigEndian.Uint16(body[1:])), 2)
	}
	return command{}, errLength
}

// withBody splits what follows Lc into the data and, perhaps, Le.
func (cmd command) withBody(rest []byte, lc, leSize int) (command, error) {
	if lc == 0 || len(rest) < lc {
		return command{}, errLength
	}
	cmd.data, rest = rest[:lc], rest[lc:]
	switch {
	case len(rest) == 0:
	case len(rest) != leSize:
		return command{}, errLength
	case leSize == 1:
		cmd.le = orMax(int(rest[0]), maxShort)
	default:
		cmd.le = orMax(int(binary.BigEndian.Uint16(rest)), maxAnswer)
	}
	return cmd, nil
}

// orMax reads a length of which zero means the greatest.
func orMax(n, greatest int) int {
	if n == 0 {
		return greatest
	}
	return min(n, greatest)
}

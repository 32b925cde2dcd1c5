package virtualpiv

import "slices"

// session is what the card forgets when it loses power, and when an
// application is selected: a YubiKey forgets the PIN then, also when it is the
// same application.
type session struct {
	application application
	// pinVerified serves keys that ask for the PIN once.
	pinVerified bool
	// pinFresh serves keys that ask for the PIN every time: their use ends it.
	pinFresh bool
	// managed is set once the management key has been shown.
	managed   bool
	challenge []byte
	chain     *command
	pending   []byte
}

// maxChain is more than the greatest object or key in a command takes.
const maxChain = 4096

// run puts a chained command together, executes it, and hands the answer out in
// pieces that fit. Whatever is not GET RESPONSE ends the answer before it.
func (s *session) run(cmd command, execute func(command) ([]byte, status)) ([]byte, status) {
	if sw := cmd.checkClass(); sw != swOK {
		return nil, sw
	}
	if cmd.ins == GetResponse {
		return s.nextPiece(cmd.le)
	}
	s.pending = nil
	cmd, sw := s.join(cmd)
	if sw != swOK || cmd.cla == claChained {
		return nil, sw
	}
	data, sw := execute(cmd)
	if sw != swOK {
		return nil, sw
	}
	s.pending = data
	return s.nextPiece(cmd.le)
}

// checkClass refuses what the card does not know: logical channels and secure
// messaging.
func (cmd command) checkClass() status {
	switch {
	case cmd.cla&^claChained == 0:
		return swOK
	case cmd.cla&0xf0&^claChained != 0:
		return swUnknownClass
	case cmd.cla&0x0c != 0:
		return swNoSecureMessaging
	}
	return swNoLogicalChannel
}

// join adds the command to the chain it continues (ISO/IEC 7816-4, 5.1.1.1).
func (s *session) join(cmd command) (command, status) {
	if s.chain != nil {
		before := s.chain
		s.chain = nil
		if before.ins != cmd.ins || before.p1 != cmd.p1 || before.p2 != cmd.p2 {
			return cmd, swChainBroken
		}
		cmd.data = slices.Concat(before.data, cmd.data)
	}
	if len(cmd.data) > maxChain {
		return cmd, swWrongLength
	}
	if cmd.cla == claChained {
		s.chain = &cmd
	}
	return cmd, swOK
}

func (s *session) nextPiece(le int) ([]byte, status) {
	n := min(le, len(s.pending))
	piece := s.pending[:n]
	s.pending = s.pending[n:]
	if rest := len(s.pending); rest > 0 {
		return piece, swMoreData | status(min(rest, 0xff))
	}
	return piece, swOK
}

package testenv

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"syscall"
)

// Card is a card as a reader knows it.
type Card interface {
	// ATR is the card's answer to reset.
	ATR() []byte
	// Reset takes the card's power away and gives it back.
	Reset()
	// Transmit answers one command. The context ends when the card is pulled.
	// A card that answers nothing at all is gone.
	Transmit(ctx context.Context, command []byte) []byte
}

// Control messages of vpcd, the virtual reader's driver. They are one byte
// long, which no command is. Messages have their length before them, two bytes.
const (
	vpcdOff   = 0
	vpcdOn    = 1
	vpcdReset = 2
	vpcdATR   = 4
)

// ServeCard plays a card in a reader until the context ends or the daemon hangs
// up.
func ServeCard(ctx context.Context, conn net.Conn, card Card) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reader := promptReader{conn}
	for {
		msg, err := readVPCD(reader)
		if err != nil {
			return
		}
		answer, due := answerVPCD(ctx, card, msg)
		if ctx.Err() != nil {
			return // a card that was pulled says nothing more
		}
		if !due {
			continue
		}
		if len(answer) == 0 || writeVPCD(conn, answer) != nil {
			return
		}
	}
}

// answerVPCD reports also whether an answer is due: power comes and goes
// without.
func answerVPCD(ctx context.Context, card Card, msg []byte) (answer []byte, due bool) {
	if len(msg) != 1 {
		return card.Transmit(ctx, msg), true
	}
	switch msg[0] {
	case vpcdOff, vpcdOn, vpcdReset:
		card.Reset()
		return nil, false
	case vpcdATR:
		return card.ATR(), true
	}
	return nil, true
}

func readVPCD(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeVPCD(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}

// promptReader acknowledges at once what it receives. The driver writes length
// and message apart, and its kernel holds the second back until the first is
// acknowledged: 40 ms for each command, where acknowledgments may be late. The
// option does not last, so it is set again before each read.
type promptReader struct{ net.Conn }

func (r promptReader) Read(b []byte) (int, error) {
	if conn, ok := r.Conn.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
			})
		}
	}
	return r.Conn.Read(b)
}

package tpm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// wire carries commands to a TPM, one at a time.
type wire interface {
	// exchange sends one command and returns its whole response. It returns
	// when ctx ends. After an error the wire must be hung up and not used
	// again, or a late answer would be taken for the next command's.
	exchange(ctx context.Context, cmd []byte) ([]byte, error)
	// alive reports whether an idle wire still has its TPM at the other end.
	alive() bool
	// hangUp ends the wire without waiting for a command under way.
	hangUp()
}

const (
	// headerSize is the size of a response's tag, size and code.
	headerSize = 10
	// maxResponse exceeds the longest response of any known TPM (4096 bytes).
	maxResponse = 8192
)

// readResponse reads one response: a header, then what the header says.
func readResponse(r io.Reader) ([]byte, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < headerSize || size > maxResponse {
		return nil, fmt.Errorf("response claims %d bytes", size)
	}
	rsp := make([]byte, size)
	copy(rsp, head)
	if _, err := io.ReadFull(r, rsp[headerSize:]); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return rsp, nil
}

package systemd

import (
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
)

// Socket is one listening unix socket that the service manager made and keeps.
type Socket struct{ file *os.File }

// PassedSocket returns the socket that this program was started with
// (sd_listen_fds(3)), or nil where it was started without. More than one is an
// error: the program would not know which is which. It is asked once, at the
// start, since the environment then says nothing of it any more.
func PassedSocket() (*Socket, error) {
	files := activation.Files(true)
	switch len(files) {
	case 0:
		return nil, nil //nolint:nilnil // there is none
	case 1:
		return &Socket{files[0]}, nil
	}
	return nil, fmt.Errorf("systemd: the service takes one socket and was given %d", len(files))
}

// Listen takes connections on the socket. Closing the listener leaves the socket
// open, so that who connects meanwhile waits for the next one.
func (s *Socket) Listen() (net.Listener, error) {
	l, err := net.FileListener(s.file)
	if err != nil {
		return nil, fmt.Errorf("systemd: %w", err)
	}
	if _, ok := l.(*net.UnixListener); !ok {
		_ = l.Close()
		return nil, fmt.Errorf("systemd: the service takes a unix socket and was given one of %s", l.Addr().Network())
	}
	return l, nil
}

package testenv

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// upstream is the recorder's own connection to the TPM.
type upstream struct {
	r    *TPMRecorder
	conn net.Conn
}

// dial waits its turn: swtpm's queue has room for one, and is full until it has
// noticed that the last client hung up.
func (u *upstream) dial() (err error) {
	for range 1000 {
		if u.conn, err = net.Dial("unix", u.r.tpm.Socket()); !errors.Is(err, syscall.EAGAIN) {
			break
		}
		<-time.After(2 * time.Millisecond)
	}
	if err == nil {
		u.r.track(u.conn, true)
	}
	return err
}

func (u *upstream) hangUp() {
	if u.conn != nil {
		u.r.track(u.conn, false)
	}
}

// reset is a power cut that the client does not notice.
func (u *upstream) reset() error {
	u.hangUp()
	u.r.tpm.Restart()
	return u.dial()
}

func (u *upstream) exchange(cmd []byte) ([]byte, error) {
	if _, err := u.conn.Write(cmd); err != nil {
		return nil, err
	}
	return readMessage(u.conn)
}

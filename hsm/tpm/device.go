package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// device is a TPM character device. It is opened non-blocking: then the kernel
// runs a command in the background and poll tells when its answer is there, so
// that a hung chip cannot hold a caller beyond its context. A plain read before
// the answer returns zero bytes, which the runtime's own poller would take for
// the end of the file; hence poll by hand.
type device struct {
	fd   int
	wake int // an eventfd that interrupts poll
}

func openDevice(path string) (wire, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &device{fd, wake}, nil
}

func (d *device) exchange(ctx context.Context, cmd []byte) ([]byte, error) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(d.wake, binary.NativeEndian.AppendUint64(nil, 1))
	})
	rsp, err := d.roundTrip(ctx, cmd)
	if !stop() {
		<-woken // before hangUp gives the descriptor's number to somebody else
		return nil, context.Cause(ctx)
	}
	return rsp, err
}

func (d *device) roundTrip(ctx context.Context, cmd []byte) ([]byte, error) {
	for sent := 0; sent < len(cmd); {
		if err := d.wait(ctx, unix.POLLOUT); err != nil {
			return nil, err
		}
		n, err := unix.Write(d.fd, cmd[sent:])
		if err != nil && !transient(err) {
			return nil, fmt.Errorf("write: %w", err)
		}
		sent += max(n, 0)
	}
	var rsp []byte
	for !complete(rsp) {
		if err := d.wait(ctx, unix.POLLIN); err != nil {
			return nil, err
		}
		// The kernel hands out a response in one read of sufficient size.
		buf := make([]byte, maxResponse)
		n, err := unix.Read(d.fd, buf)
		if err != nil && !transient(err) {
			return nil, fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
		}
		if rsp = append(rsp, buf[:max(n, 0)]...); len(rsp) > maxResponse {
			return nil, errors.New("response too long")
		}
	}
	return rsp, nil
}

// complete reports whether rsp holds all the bytes its header announces. A
// header that announces too many is caught by the limit on what is read.
func complete(rsp []byte) bool {
	return len(rsp) >= headerSize && uint64(len(rsp)) >= uint64(binary.BigEndian.Uint32(rsp[2:]))
}

func transient(err error) bool { return errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) }

// wait returns when the device is ready for the event, or the context ended.
func (d *device) wait(ctx context.Context, event int16) error {
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: event}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err != nil && !transient(err):
			return fmt.Errorf("poll: %w", err)
		case fds[1].Revents != 0:
			return context.Cause(ctx)
		case fds[0].Revents != 0:
			return nil // errors show at the read or write that follows
		}
	}
}

// alive cannot tell more than that nothing has failed yet.
func (d *device) alive() bool { return true }

// hangUp closes in the background: the kernel waits in close for a command
// under way.
func (d *device) hangUp() {
	_ = unix.Close(d.wake)
	go func() { _ = unix.Close(d.fd) }()
}

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// logTap reads the daemon's log a line at a time. Its pipe holds one line, so
// while a line is not taken the daemon can write no other, and waits.
//
// That is how a card gets into a reader before the daemon first looks there:
// the driver writes that it will listen, listens, and the daemon writes a line
// before it looks. A card that comes later is seen by a poll, 400 ms later.
type logTap struct {
	pipe *os.File
	// offer gives a card to a reader that has begun to listen, and reports
	// whether there was one, or nothing to give.
	offer func() bool
	text  Log
}

// beforeListening is in the line before the one that says that the driver will
// listen; patience is how long that one is held at most.
const (
	beforeListening = "Loading IFD Handler"
	patience        = 100 * time.Millisecond
)

// newLogTap returns the tap and the end of the pipe that the daemon writes to.
func newLogTap(offer func() bool) (*logTap, *os.File, error) {
	var fds [2]int
	// With O_DIRECT each write stays apart.
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_DIRECT); err != nil {
		return nil, nil, fmt.Errorf("make the log's pipe: %w", err)
	}
	_, sizeErr := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, os.Getpagesize())
	// Before NewFile, which asks whether it may wait for the file.
	blockErr := unix.SetNonblock(fds[0], true)
	in, out := os.NewFile(uintptr(fds[0]), "log"), os.NewFile(uintptr(fds[1]), "log")
	if err := errors.Join(sizeErr, blockErr); err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, nil, fmt.Errorf("set up the log's pipe: %w", err)
	}
	return &logTap{pipe: in, offer: offer}, out, nil
}

// follow reads until the daemon has ended.
func (l *logTap) follow() {
	defer l.pipe.Close()
	for hold := false; ; {
		line, err := l.next(hold)
		if err != nil {
			_, _ = l.text.Write([]byte("log: " + err.Error()))
		}
		if len(line) == 0 {
			return
		}
		_, _ = l.text.Write(line)
		hold = bytes.Contains(line, []byte(beforeListening))
	}
}

// next waits for a line and takes it, if told so not before a card has found
// its reader.
func (l *logTap) next(hold bool) ([]byte, error) {
	raw, err := l.pipe.SyscallConn()
	if err != nil {
		return nil, err
	}
	line := make([]byte, os.Getpagesize())
	n := 0
	waitErr := raw.Read(func(fd uintptr) bool {
		if !readable(fd) {
			return false
		}
		for end := time.Now().Add(patience); hold && !l.offer() && time.Now().Before(end); {
			runtime.Gosched()
		}
		n, err = unix.Read(int(fd), line)
		return true
	})
	return line[:max(n, 0)], errors.Join(waitErr, err)
}

// readable reports whether a read would return at once, at the end too.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// String is the log so far.
func (l *logTap) String() string { return l.text.String() }

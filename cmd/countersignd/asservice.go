package main

import (
	"errors"
	"os"
	"os/user"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// serviceUser is whom the system's service runs as.
const serviceUser = "countersign"

// asService has a function look at files with the eyes of the service, and tells it as
// which user, where root asks: what root can read says nothing of what the service can.
// It reports false where somebody asks who can see neither.
func (f flags) asService(look func(uid uint32) error) (looked bool, err error) {
	self := os.Geteuid()
	u, err := user.Lookup(serviceUser)
	if f.user || err != nil {
		return true, look(uint32(self)) // the service is one's own, or none that is installed
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return false, err
	}
	switch self {
	case uid:
		return true, look(uint32(self))
	case 0:
	default:
		return false, nil
	}
	done := make(chan error)
	go func() {
		// The thread sees files as the service does from now on, and ends with this.
		runtime.LockOSThread()
		_, err := unix.SetfsgidRetGid(gid)
		if err == nil {
			_, err = unix.SetfsuidRetUid(uid)
		}
		if err == nil {
			err = look(uint32(uid))
		}
		done <- err
	}()
	return true, <-done
}

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

// loadAsService reads the configuration with the eyes of the system's service, where
// root asks: what root can read says nothing of what the service can.
func (f flags) loadAsService() error {
	if os.Geteuid() != 0 || f.user {
		return nil
	}
	u, err := user.Lookup(serviceUser)
	if err != nil {
		return nil //nolint:nilerr // there is no such service on this computer
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
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
			_, err = f.load()
		}
		done <- err
	}()
	return <-done
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"unsafe"

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
	groups, groupsErr := groupsOf(u)
	if err := errors.Join(uidErr, gidErr, groupsErr); err != nil {
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
		err := setThreadGroups(groups)
		if err == nil {
			_, err = unix.SetfsgidRetGid(gid)
		}
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

// groupsOf are the groups of the service's user, and the one that its unit adds.
func groupsOf(u *user.User) ([]uint32, error) {
	names, err := u.GroupIds()
	if tss, err := user.LookupGroup("tss"); err == nil {
		names = append(names, tss.Gid)
	}
	groups := []uint32{}
	for _, name := range names {
		gid, parseErr := strconv.ParseUint(name, 10, 32)
		err = errors.Join(err, parseErr)
		groups = append(groups, uint32(gid))
	}
	return groups, err
}

// setThreadGroups takes root's own groups from the thread, which would else open it what
// the service cannot read. Go's call is for all threads.
func setThreadGroups(groups []uint32) error {
	var first *uint32
	if len(groups) > 0 {
		first = &groups[0]
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(first)), 0); errno != 0 { //nolint:gosec // the kernel reads the list that it is given the length of
		return fmt.Errorf("take on the service's groups: %w", errno)
	}
	return nil
}

package verify

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// pidfdVersion is the first polkit that takes a pidfd.
const pidfdVersion = 124

// maxClean is how many characters of a text a dialog shows.
const maxClean = 80

// polkitSubject is the D-Bus structure that names a process.
type polkitSubject struct {
	Kind    string
	Details map[string]dbus.Variant
}

// forPolkit names the process: by a pidfd where that can be passed, else by its
// id and start, which together are as good as long as the process lives. The
// uid is the kernel's of when it connected, and polkit asks about that one. Done
// must be called when polkit has answered.
func (s Subject) forPolkit(pidfd bool) (subject polkitSubject, done func(), err error) {
	details := map[string]dbus.Variant{"uid": dbus.MakeVariant(int32(s.UID))}
	subject = polkitSubject{"unix-process", details}
	if pidfd && s.PIDFD != nil {
		fd, err := dup(s.PIDFD)
		if err != nil {
			return polkitSubject{}, nil, &Unavailable{Text: "the process that asks has ended", Err: err}
		}
		details["pidfd"] = dbus.MakeVariant(dbus.UnixFD(fd))
		return subject, func() { _ = unix.Close(fd) }, nil
	}
	if s.PID <= 0 || s.Started == 0 {
		return polkitSubject{}, nil, &Unavailable{Text: "the process that asks cannot be named to polkit"}
	}
	details["pid"], details["start-time"] = dbus.MakeVariant(uint32(s.PID)), dbus.MakeVariant(s.Started)
	return subject, func() {}, nil
}

// dup makes a descriptor that stays open until we close it.
func dup(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	err = raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, dupErr)
}

// takesPIDFD reports whether this polkit knows processes by a pidfd. Where it
// does not say, it is asked in the older way.
func (l *line) takesPIDFD(ctx context.Context) bool {
	if !l.conn.SupportsUnixFDs() {
		return false
	}
	var v dbus.Variant
	err := l.call(ctx, polkitPath, busName+".Properties.Get", polkitInterface, "BackendVersion").Store(&v)
	text, ok := v.Value().(string)
	return err == nil && ok && pidfdSince(text)
}

// pidfdSince reads a version of polkit's: after 0.120 came 121.
func pidfdSince(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= pidfdVersion
}

// clean makes a relying party's text fit for a dialog, of which some read
// markup and all expand variables: what means something to either, and what
// cannot be seen, becomes a question mark.
func clean(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxClean {
			return b.String() + "…"
		}
		if !unicode.IsPrint(r) || strings.ContainsRune("<>&$\\`\"'%", r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

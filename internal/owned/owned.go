// Package owned opens files that decide what a privileged program does: nobody
// but their rightful owners can have written, chosen or swapped what it opens.
//
// A file and every directory above it must belong to an owner and be writable by
// nobody else, and none of them may be a link. What is opened is what was looked
// at. Access lists need no look of their own: the kernel shows the most they
// allow as the group's mode.
package owned

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"countersign/internal/mend"
)

// Owners are the users that files are taken from. The zero value is root alone.
type Owners struct {
	service bool
}

// Root takes files of root alone.
func Root() Owners { return Owners{} }

// RootOrService takes those of the user that the program runs as, too.
func RootOrService() Owners { return Owners{service: true} }

func (o Owners) trusts(uid uint32) bool {
	return uid == 0 || o.service && int(uid) == os.Geteuid()
}

func (o Owners) String() string {
	if o.service {
		return "root or the service"
	}
	return "root"
}

// Open opens a regular file for reading. The path is absolute and plain.
func Open(path string, by Owners) (*os.File, error) { return open(path, by, 0) }

// OpenDir opens a directory for reading its names.
func OpenDir(path string, by Owners) (*os.File, error) { return open(path, by, unix.O_DIRECTORY) }

func open(path string, by Owners, flags int) (*os.File, error) {
	if err := checkAbove(path, by); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|flags, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) && isLink(path) {
		return nil, fmt.Errorf("%s is a link: name what it leads to", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = check(path, info, by, flags&unix.O_DIRECTORY != 0, false)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

// checkAbove refuses a directory on the way in which somebody else could put
// another file in this one's place.
func checkAbove(path string, by Owners) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("%s is no plain absolute path", path)
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link: name what it leads to", dir)
		}
		// The sticky bit keeps others from swapping what is not theirs.
		if err := check(dir, info, by, true, info.Mode()&os.ModeSticky != 0); err != nil {
			return err
		}
		if dir == "/" {
			return nil
		}
	}
}

// check looks at one file or directory, which others may write to or not.
func check(path string, info os.FileInfo, by Owners, dir, shared bool) error {
	switch mode := info.Mode(); {
	case dir && !mode.IsDir():
		return fmt.Errorf("%s is no directory", path)
	case !dir && !mode.IsRegular():
		return fmt.Errorf("%s is no file", path)
	case mode.Perm()&0o022 != 0 && !shared:
		return fmt.Errorf("others may write to %s: %s", path, mend.Words("sudo", "chmod", "go-w", path))
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && by.trusts(st.Uid) {
		return nil
	}
	return fmt.Errorf("%s does not belong to %v: %s", path, by, mend.Words("sudo", "chown", "root", path))
}

// Package state is what the service remembers across restarts: profiles with
// their key references, enrollments under way, what was reserved in a chip for
// keys that do not exist yet, and the outbox of decisions.
//
// The caller must not start two services on one directory; Open refuses the
// second. Every change is atomic and durable when the call returns: a crash at
// any point leaves the old state or the new one. A profile exists when, and
// only when, its directory stands under its final name, complete.
//
// The directory holds no secret that opens a key: references are useless
// without the chip, and an approval key's without its PIN too. It is mode 0700
// all the same, since it says who is enrolled where.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned by Open for a directory that another process holds.
var ErrInUse = errors.New("another service uses this state directory")

// Dir is an open state directory. It is safe for concurrent use as long as
// each profile's and each enrollment's files have one writer.
type Dir struct {
	root string
	lock *os.File
}

const (
	profilesDir  = "profiles"
	enrollingDir = "enrolling"
	reservedDir  = "reservations"
	outboxDir    = "outbox"
)

// Open makes or opens the directory, takes its lock, and clears away what a
// crash left half written.
func Open(root string) (*Dir, error) {
	for _, sub := range []string{"", profilesDir, enrollingDir, reservedDir} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o700); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("state: %s: %w", root, ErrInUse)
	}
	d := &Dir{root: root, lock: lock}
	if err := d.sweep(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Exists reports whether a service has used this directory, or may have: one that
// cannot be looked into counts as used.
func Exists(root string) bool {
	_, err := os.Stat(filepath.Join(root, profilesDir))
	return !errors.Is(err, os.ErrNotExist)
}

// Erase removes all there is in the directory, and the directory where its parent
// allows that. Only Close may follow.
func (d *Dir) Erase() error {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return fmt.Errorf("state: erase: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.root, e.Name())); err != nil {
			return fmt.Errorf("state: erase: %w", err)
		}
	}
	_ = os.Remove(d.root) // a package's, or systemd's
	return nil
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// sweep removes what was never finished, at every level.
func (d *Dir) sweep() error {
	return filepath.WalkDir(d.root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		if path == d.root || !strings.HasPrefix(e.Name(), tmpPrefix) {
			return nil
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("state: %w", err)
		}
		if e.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
}

// names lists the finished entries of a subdirectory, sorted.
func (d *Dir) names(sub ...string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(append([]string{d.root}, sub...)...))
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tmpPrefix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

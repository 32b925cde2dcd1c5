package installer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"countersign/internal/mend"
)

// tree is the file system that is installed into. Paths are absolute, as the
// installed system will see them. In the tree of an image no symbolic link leads
// out of it, wherever it points: one that would is an error.
type tree struct {
	dir  string
	root *os.Root
	// foreign is set for the files of a user, who may do with them as they like:
	// no owners are set, and none are asked for.
	foreign bool
	// changed is called before and after each change. Tests end the process there.
	changed func()
}

func openTree(dir string, foreign bool) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fail(CodeUnsafe, "name the directory that holds the file system of an image", "the tree to install into cannot be opened: %v", err)
	}
	return &tree{dir: dir, root: root, foreign: foreign, changed: func() {}}, nil
}

func (t *tree) close() error { return t.root.Close() }

// live is whether the tree is the running system's own.
func (t *tree) live() bool { return t.dir == "/" }

// full is a path as those outside of the tree call it.
func (t *tree) full(path string) string { return filepath.Join(t.dir, path) }

// real is a path below the root. On the running system links are followed
// wherever they lead, except the last name of the path.
func (t *tree) real(path string) (string, error) {
	if !filepath.IsAbs(path) || path != filepath.Clean(path) {
		return "", fmt.Errorf("installer: %q is not a clean absolute path", path)
	}
	if t.live() {
		dir, err := existing(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
	}
	return "." + strings.TrimSuffix(path, "/"), nil
}

// existing resolves the links of what exists of a path.
func existing(dir string) (string, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
		return resolved, err
	}
	parent, err := existing(filepath.Dir(dir))
	return filepath.Join(parent, filepath.Base(dir)), err
}

// stat does not follow a link at the path's end.
func (t *tree) stat(path string) (fs.FileInfo, error) {
	name, err := t.real(path)
	if err != nil {
		return nil, err
	}
	return t.root.Lstat(name)
}

func (t *tree) exists(path string) bool {
	_, err := t.stat(path)
	return err == nil
}

// read returns a file's content, and fs.ErrNotExist where there is none. What is
// no plain file is an error.
func (t *tree) read(path string) ([]byte, error) {
	info, err := t.stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fail(CodeConflict, "move it away", "%s is not a plain file", path)
	}
	name, err := t.real(path)
	if err != nil {
		return nil, err
	}
	return t.root.ReadFile(name)
}

// temporary is where a file is written before it takes its name. The name is
// always the same one, so that what an interruption leaves is found again.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".countersign-install")
}

// write puts a whole file in place, or nothing: readers see the old one or the
// new one, after a power failure too.
func (t *tree) write(path string, data []byte, mode fs.FileMode) error {
	temp, err := t.real(temporary(path))
	if err != nil {
		return err
	}
	t.changed()
	if err := t.fill(temp, data, mode); err != nil {
		return err
	}
	return t.rename(temporary(path), path)
}

// rename puts a file or directory in another's place in its directory, for good.
func (t *tree) rename(from, to string) error {
	old, err := t.real(from)
	if err != nil {
		return err
	}
	name, err := t.real(to)
	if err != nil {
		return err
	}
	t.changed()
	if err := t.root.Rename(old, name); err != nil {
		return err
	}
	t.changed()
	return t.sync(filepath.Dir(name))
}

func (t *tree) fill(temp string, data []byte, mode fs.FileMode) error {
	if err := t.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := t.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	t.changed()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && !t.foreign {
		err = f.Chown(0, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (t *tree) sync(dir string) error {
	d, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mkdir makes one directory, whose parent exists. One that is there is fine.
func (t *tree) mkdir(path string, mode fs.FileMode) error {
	name, err := t.real(path)
	if err != nil {
		return err
	}
	t.changed()
	if err := t.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	t.changed()
	if !t.foreign {
		if err := t.root.Chown(name, 0, 0); err != nil {
			return err
		}
	}
	return t.root.Chmod(name, mode)
}

// remove removes a file or an empty directory. None is fine.
func (t *tree) remove(path string) error {
	name, err := t.real(path)
	if err != nil {
		return err
	}
	t.changed()
	err = t.root.Remove(name)
	t.changed()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeAll removes what is below path too, and follows no link in it.
func (t *tree) removeAll(path string) error {
	name, err := t.real(path)
	if err != nil {
		return err
	}
	t.changed()
	defer t.changed()
	return t.root.RemoveAll(name)
}

// count is how many names a directory holds, -1 where there is none.
func (t *tree) count(path string) int {
	name, err := t.real(path)
	if err != nil {
		return -1
	}
	entries, err := fs.ReadDir(t.root.FS(), filepath.Clean(name))
	if err != nil {
		return -1
	}
	return len(entries)
}

// guarded refuses a path which somebody else than root could put something at:
// what root starts or trusts must be what root installed.
func (t *tree) guarded(path string) error {
	if t.foreign {
		return nil
	}
	name, err := t.real(path)
	if err != nil {
		return err
	}
	for {
		info, err := t.root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		default:
			if err := onlyRoots(filepath.Join(t.dir, name), info); err != nil {
				return err
			}
		}
		if name == "." {
			return nil
		}
		name = filepath.Dir(name)
	}
}

func onlyRoots(path string, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || owner.Uid != 0:
		return fail(CodeUnsafe, mend.Words("sudo", "chown", "root:", path), "%s does not belong to root: whoever owns it could put another program there", path)
	case info.Mode().Perm()&0o002 != 0:
		return fail(CodeUnsafe, mend.Words("sudo", "chmod", "o-w", path), "everybody may write to %s: whoever does could put another program there", path)
	case info.Mode().Perm()&0o020 != 0 && owner.Gid != 0:
		return fail(CodeUnsafe, mend.Words("sudo", "chmod", "g-w", path), "others than root may write to %s: whoever does could put another program there", path)
	}
	return nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// names lists a directory, which may be absent.
func (t *tree) names(path string) ([]string, error) {
	name, err := t.real(path)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(t.root.FS(), filepath.Clean(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// target is where a symbolic link points, "" where there is none.
func (t *tree) target(path string) string {
	name, err := t.real(path)
	if err != nil {
		return ""
	}
	target, err := t.root.Readlink(name)
	if err != nil {
		return ""
	}
	return target
}

func (t *tree) chmod(path string, m mode) error {
	name, err := t.real(path)
	if err != nil {
		return err
	}
	return t.root.Chmod(name, fs.FileMode(m))
}

// hasName is whether a file such as /etc/passwd has a line for a name.
func (t *tree) hasName(path, name string) bool {
	data, err := t.read(path)
	return err == nil && strings.Contains("\n"+string(data), "\n"+name+":")
}

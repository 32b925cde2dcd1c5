package owned

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const stranger = 4711

func put(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhoIsTrusted(t *testing.T) {
	self := uint32(os.Geteuid())
	for _, c := range []struct {
		by   Owners
		uid  uint32
		want bool
	}{
		{Root(), 0, true},
		{RootOrService(), 0, true},
		{Root(), stranger, false},
		{RootOrService(), stranger, false},
		{Root(), self, self == 0},
		{RootOrService(), self, true},
	} {
		if got := c.by.trusts(c.uid); got != c.want {
			t.Errorf("%v, uid %d: %v", c.by, c.uid, got)
		}
	}
}

func TestOpen(t *testing.T) {
	path := put(t)
	f, err := Open(path, RootOrService())
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d, err := OpenDir(filepath.Dir(path), RootOrService())
	if err != nil {
		t.Fatal(err)
	}
	if names, err := d.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	_ = d.Close()
}

// TestRefused: each way in which somebody else could have a say.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, path string) string
		want   string
		root   bool
	}{
		"the group may write":   {chmod(0o664), "others may write", false},
		"all may write":         {chmod(0o646), "others may write", false},
		"a link":                {link, "is a link", false},
		"a directory":           {func(_ *testing.T, path string) string { return filepath.Dir(path) }, "is no file", false},
		"a pipe":                {pipe, "is no file", false},
		"not plain":             {func(_ *testing.T, path string) string { return filepath.Dir(path) + "/./f" }, "no plain absolute path", false},
		"relative":              {func(*testing.T, string) string { return "f" }, "no plain absolute path", false},
		"not there":             {func(_ *testing.T, path string) string { return path + "s" }, "no such file", false},
		"behind a link":         {behindLink, "is a link", false},
		"in a directory of all": {chmodDir(0o777), "others may write", false},
		"somebody else's":       {chown, "does not belong to root", true},
		"somebody else's directory": {func(t *testing.T, path string) string {
			chown(t, filepath.Dir(path))
			return path
		}, "does not belong to root", true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			f, err := Open(c.change(t, put(t)), RootOrService())
			if err == nil {
				_ = f.Close()
				t.Fatal("it is opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want: %s", err, c.want)
			}
		})
	}
}

// TestStickyIsNotEnoughForTheLast: in a shared directory others may not swap a
// file, but they may put more into it.
func TestStickyIsNotEnoughForTheLast(t *testing.T) {
	path := put(t)
	if err := os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, RootOrService())
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := OpenDir(filepath.Dir(path), RootOrService()); err == nil {
		t.Error("a directory that all may write to is listed")
	}
}

func TestDirIsNoLink(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenDir(link(t, dir), RootOrService()); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("got %v", err)
	}
}

func chmod(mode os.FileMode) func(*testing.T, string) string {
	return func(t *testing.T, path string) string {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func chmodDir(mode os.FileMode) func(*testing.T, string) string {
	return func(t *testing.T, path string) string {
		t.Helper()
		chmod(mode)(t, filepath.Dir(path))
		return path
	}
}

func chown(t *testing.T, path string) string {
	t.Helper()
	if err := os.Chown(path, stranger, -1); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, path string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func behindLink(t *testing.T, path string) string {
	t.Helper()
	return filepath.Join(link(t, filepath.Dir(path)), "f")
}

func pipe(t *testing.T, path string) string {
	t.Helper()
	name := path + "ipe"
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

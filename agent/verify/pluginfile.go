package verify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// open opens the plug-in, where nobody but root and the service itself can have
// chosen what is in it.
func (p *Plugin) open() (*os.File, error) {
	if !filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path {
		return nil, fmt.Errorf("%s is no plain absolute path", p.path)
	}
	for dir := filepath.Dir(p.path); ; dir = filepath.Dir(dir) {
		if err := p.checkDir(dir); err != nil {
			return nil, err
		}
		if dir == "/" {
			break
		}
	}
	f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a link: name what it leads to", p.path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = p.checkFile(info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkDir refuses a directory in which somebody else could put another file
// in the plug-in's place. The sticky bit keeps them from it.
func (p *Plugin) checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case !mode.IsDir():
		return fmt.Errorf("%s is a link: name what it leads to", dir)
	case mode.Perm()&0o022 != 0 && mode&os.ModeSticky == 0:
		return fmt.Errorf("others may write to %s", dir)
	}
	return p.checkOwner(dir, info)
}

func (p *Plugin) checkFile(info os.FileInfo) error {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%s is no file", p.path)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s", p.path)
	case mode.Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", p.path)
	case mode&(os.ModeSetuid|os.ModeSetgid) != 0:
		return fmt.Errorf("%s would run as somebody else", p.path)
	}
	return p.checkOwner(p.path, info)
}

func (p *Plugin) checkOwner(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && p.trusted(st.Uid) {
		return nil
	}
	return fmt.Errorf("%s belongs neither to root nor to the service", path)
}

package verify

import (
	"errors"
	"fmt"
	"os"

	"countersign/internal/owned"
)

// open opens the plug-in, where nobody but root and the service itself can have
// chosen what is in it.
func (p *Plugin) open() (*os.File, error) {
	f, err := owned.Open(p.path, p.owners)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = p.checkMode(info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (p *Plugin) checkMode(mode os.FileMode) error {
	switch {
	case mode.Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", p.path)
	case mode&(os.ModeSetuid|os.ModeSetgid) != 0:
		return fmt.Errorf("%s would run as somebody else", p.path)
	}
	return nil
}

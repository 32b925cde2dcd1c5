package portal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"syscall"
)

// Screenshot has a picture of the screen taken by the portal on the session bus
// at a D-Bus address. The file is open for reading and has no name any more;
// the caller closes it.
func Screenshot(ctx context.Context, address string) (*os.File, error) {
	uri, err := ask(ctx, address)
	if err != nil {
		return nil, err
	}
	name, err := fileOf(uri)
	if err != nil {
		return nil, err
	}
	return take(name)
}

// fileOf is the path that a file URI names on this computer.
func fileOf(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("portal: the picture is not a file")
	}
	return u.Path, nil
}

// take opens a picture and removes its name: a picture of a whole screen is not
// left lying around. What is no file of the user's own is not touched.
func take(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("portal: %w", err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = ours(fi)
	}
	if err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("portal: the picture at %s: %w", name, err)
	}
	return f, nil
}

func ours(fi os.FileInfo) error {
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() || int(sys.Uid) != os.Getuid() {
		return errors.New("it is not a file of yours")
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxSecret is more than a token or a password has.
const maxSecret = 1024

// secretFileError is a file with a secret that is not used as it is. Its text is for
// everybody.
type secretFileError string

func (e secretFileError) Error() string { return string(e) }

// readSecret reads a file that nobody else than root and a user can read or replace.
func readSecret(path string, by uint32) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would have it wait
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, secretFileError(path + " is no file")
	}
	if st.Mode&0o077 != 0 || st.Uid != 0 && st.Uid != by {
		return nil, secretFileError(path + " can be read or replaced by others: it must belong to root or to the service, with mode 0600")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = secretFileError(fmt.Sprintf("%s is larger than %d bytes, which is no secret of one line", path, maxSecret))
	}
	return data, err
}

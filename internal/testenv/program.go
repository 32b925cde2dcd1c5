package testenv

import (
	"io/fs"
	"os"
	"syscall"
)

// WriteProgram writes a file that is to be started. A process that another test starts
// meanwhile would hold it open for writing for a moment, and the kernel starts no
// program that is ("text file busy"); so none is started before it is closed.
func WriteProgram(path string, data []byte, mode fs.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, data, mode)
}

// Package systemd is what Countersign has to do with systemd: the units and the
// other files of the system that belong to them, and the service's side of the
// protocol, which is readiness, watchdog, sockets and credentials.
//
// A program that systemd did not start is told so by each of them, and loses
// nothing else: notifications go nowhere, there is no socket and no credential.
package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Managed reports whether a service manager started this program and waits for
// its notifications (sd_notify(3)).
func Managed() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// ExitConfig is the exit status that says to a service manager that a program was
// started or configured wrongly, so that starting it again is of no use: the units
// hold it (EX_CONFIG of sysexits.h). Wrong usage is 2 to a person, which to a service
// manager could be a panic of Go's as well.
const ExitConfig = 78

// Ready tells the service manager that the program serves now.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Status tells the service manager in words how the program is, which is shown
// to whoever asks it. It is shown as one line.
func Status(text string) error {
	// A line of its own would be taken for another notification.
	return notify("STATUS=" + strings.Join(strings.Fields(text), " "))
}

func notify(state string) error {
	// The environment stays as it is: nothing this program starts gets to
	// notify in its place, since the units say NotifyAccess=main.
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("systemd: notify: %w", err)
	}
	return nil
}

// Credential reads what LoadCredential= has given to the service under a name
// (systemd.exec(5)). Where there is none the error is fs.ErrNotExist.
func Credential(name string) ([]byte, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, fmt.Errorf("systemd: credential %s: %w", name, fs.ErrNotExist)
	}
	if name != filepath.Base(name) {
		return nil, errors.New("systemd: a credential's name is not a path")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("systemd: credential %s: %w", name, err)
	}
	return data, nil
}

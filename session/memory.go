package session

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Memory keeps, in two small files of the person's, what outlives the session
// helper. A file that cannot be read remembers nothing.
type Memory struct {
	// LoginFile goes with the login, LastingFile stays.
	LoginFile, LastingFile string
}

// HomeMemory is the person's, by XDG_RUNTIME_DIR and XDG_STATE_HOME.
func HomeMemory() (Memory, error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Memory{}, err
		}
		state = filepath.Join(home, ".local", "state")
	}
	if runtime == "" || !filepath.IsAbs(state) {
		return Memory{}, errors.New("XDG_RUNTIME_DIR is not set")
	}
	return Memory{filepath.Join(runtime, "countersign-setup"), filepath.Join(state, "countersign-session", "setup-later")}, nil
}

// Shown reports whether the invitation was shown in a login session.
func (m Memory) Shown(login string) bool {
	data, err := os.ReadFile(m.LoginFile)
	return err == nil && string(data) == login
}

// Show remembers that.
func (m Memory) Show(login string) error { return os.WriteFile(m.LoginFile, []byte(login), 0o600) }

// Until is how long the person is left alone.
func (m Memory) Until() time.Time {
	data, err := os.ReadFile(m.LastingFile)
	if err != nil {
		return time.Time{}
	}
	until, err := time.Parse(time.RFC3339, string(data))
	if err != nil || time.Until(until) > laterFor {
		return time.Time{} // a clock was set back
	}
	return until
}

// Later remembers how long.
func (m Memory) Later(until time.Time) error {
	if err := os.MkdirAll(filepath.Dir(m.LastingFile), 0o700); err != nil {
		return err
	}
	return os.WriteFile(m.LastingFile, []byte(until.UTC().Format(time.RFC3339)), 0o600)
}

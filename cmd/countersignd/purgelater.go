package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// preparePurge copies this program, and what of its configuration says where keys
// and state are, to a directory of its own. A package that is removed does not know
// yet whether it will be purged, and when it is, the program is gone.
//
// It runs as root, and only looks whether there is anything in the state
// directory: what that says is for the purge to read, as the user who wrote it.
func preparePurge(cfg config, to string) (err error) {
	if !hasState(cfg.State) {
		return nil
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	defer func() {
		if err != nil { // half a program is none, and a full disk needs the room
			err = errors.Join(err, os.RemoveAll(to))
		}
	}()
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	text, err := toml.Marshal(map[string]any{
		"state": cfg.State, "tpm": cfg.TPM, "piv": cfg.PIV, "tpm_owner_password_file": cfg.TPMOwnerPasswordFile,
	})
	if err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, "countersignd.toml"), text, 0o644); err != nil { //nolint:gosec // it says where a password is, and not what
		return fmt.Errorf("prepare a purge: %w", err)
	}
	return copySelf(filepath.Join(to, "countersignd"))
}

// hasState reports whether there is any key to remove.
func hasState(dir string) bool {
	for _, sub := range []string{"profiles", "enrolling", "reservations"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// copySelf copies the program that runs, whatever stands under its name by now.
func copySelf(to string) (err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // a program
	if err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, from); err != nil {
		return fmt.Errorf("prepare a purge: %w", err)
	}
	return nil
}

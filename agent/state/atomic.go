package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// tmpPrefix marks files and directories that a crash may leave behind; they
// are never read and are removed at Open.
const tmpPrefix = ".tmp-"

// writeFile replaces name by data so that a reader, or the next start, finds
// either the old bytes or the new ones: written aside, synced, renamed, and
// the directory synced so that the rename itself is durable.
func writeFile(name string, data []byte) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, tmpPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no longer there once renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(name, append(data, '\n'))
}

func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// moveDir makes a finished directory visible under its final name.
func moveDir(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncMove(from, to)
}

// syncMove makes a move durable.
func syncMove(from, to string) error {
	return errors.Join(syncDir(filepath.Dir(from)), syncDir(filepath.Dir(to)))
}

// removeFile takes a file away for good: without the sync it might be back
// after a power cut. One that is not there is no error.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// removeDir takes a directory away in one step: first under a name that is
// never read, then piece by piece.
func removeDir(dir string) error {
	parent := filepath.Dir(dir)
	gone := filepath.Join(parent, tmpPrefix+filepath.Base(dir))
	if err := os.Rename(dir, gone); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return errors.Join(syncDir(parent), os.RemoveAll(gone))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

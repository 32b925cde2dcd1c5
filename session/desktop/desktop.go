// Package desktop makes a user's desktop open "countersign:" links with
// countersign: it holds the desktop entry, which packages install for
// everybody, and puts it into one user's home.
//
// What else the user has set up stays: other entries of mimeapps.list are not
// touched, an earlier choice of program for these links is kept behind ours,
// and a file is whole at any moment.
package desktop

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Entry is the desktop entry that packages install.
//
//go:embed countersign.desktop
var Entry string

// Autostart is the entry that starts prompts where systemd does not start the
// programs of a session; elsewhere desktops pass it over.
//
//go:embed countersign-session.desktop
var Autostart string

const (
	entryName = "countersign.desktop"
	command   = "Exec=countersign "
)

// Home says where a user's entries are, as the XDG base directories say.
type Home struct{ Data, Config string }

// HomeDirs finds them in the environment.
func HomeDirs() (Home, error) {
	home := os.Getenv("HOME")
	h := Home{os.Getenv("XDG_DATA_HOME"), os.Getenv("XDG_CONFIG_HOME")}
	// A relative path is to be ignored, the specification says.
	if !filepath.IsAbs(h.Data) {
		h.Data = filepath.Join(home, ".local", "share")
	}
	if !filepath.IsAbs(h.Config) {
		h.Config = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(h.Data) || !filepath.IsAbs(h.Config) {
		return Home{}, errors.New("there is no home directory: HOME is unset")
	}
	return h, nil
}

// EntryPath is where the user's own entry is.
func (h Home) EntryPath() string { return filepath.Join(h.Data, "applications", entryName) }

func (h Home) choices() string { return filepath.Join(h.Config, "mimeapps.list") }

// Install has links opened by a program, given by its absolute path, or by the
// countersign in PATH where that is empty.
func (h Home) Install(program string) error {
	entry, err := entryFor(program)
	if err != nil {
		return err
	}
	if err := replace(h.EntryPath(), entry); err != nil {
		return err
	}
	return h.choose(choose)
}

// Uninstall undoes Install. Nothing installed is no error.
func (h Home) Uninstall() error {
	if err := h.choose(forget); err != nil {
		return err
	}
	if err := os.Remove(h.EntryPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("desktop entry: %w", err)
	}
	return nil
}

// entryFor is the entry with the program's path in it.
func entryFor(program string) (string, error) {
	if program == "" {
		return Entry, nil
	}
	// Of these an entry holds some not at all and others twice quoted, which
	// programs that read entries do not agree on.
	if !filepath.IsAbs(program) || strings.ContainsAny(program, "\"`$\\%\n\r") {
		return "", fmt.Errorf("a desktop entry cannot name the program %q", program)
	}
	return strings.Replace(Entry, command, `Exec="`+program+`" `, 1), nil
}

// choose rewrites the user's choices of programs.
func (h Home) choose(edit func(string) string) error {
	old, err := os.ReadFile(h.choices())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("choices of programs: %w", err)
	}
	text := edit(string(old))
	if text == string(old) {
		return nil
	}
	return replace(h.choices(), text)
}

// replace writes a file beside the old one and puts it in its place. A link
// stays one: people keep such files elsewhere.
func replace(name, text string) (err error) {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("desktop: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".countersign-*")
	if err != nil {
		return fmt.Errorf("desktop: %w", err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode(name)), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("desktop: %w", err)
	}
	return nil
}

// mode is what a file has, or what a new one gets.
func mode(name string) os.FileMode {
	if fi, err := os.Stat(name); err == nil {
		return fi.Mode().Perm()
	}
	return 0o644
}

package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"countersign/internal/mend"
)

// MakeDirectory makes a directory of root's, or of the user's.
type MakeDirectory struct {
	Path  string `json:"path"`
	Mode  mode   `json:"mode"`
	Owner string `json:"owner"`
}

// Kind implements Step.
func (s *MakeDirectory) Kind() Kind { return KindDirectory }

func (s *MakeDirectory) String() string {
	return fmt.Sprintf("make directory %s %s %s", s.Path, s.Mode, s.Owner)
}

func (s *MakeDirectory) state(_ context.Context, m *machine) (State, error) {
	if m.tree.exists(s.Path) {
		return Done, nil
	}
	return Needed, nil
}

func (s *MakeDirectory) apply(_ context.Context, m *machine) error {
	ours := m.book.find(KindDirectory, s.Path, "", "")
	if m.tree.exists(s.Path) && (ours == nil || ours.Done) {
		return nil
	}
	if err := m.tree.guarded(s.Path); err != nil {
		return err
	}
	if err := m.book.intend(entry{Kind: KindDirectory, Path: s.Path}); err != nil {
		return err
	}
	if err := m.tree.mkdir(s.Path, fs.FileMode(s.Mode)); err != nil {
		return err
	}
	return m.book.done(KindDirectory, s.Path, "", "")
}

// WriteFile writes a file.
type WriteFile struct {
	Path   string `json:"path"`
	Mode   mode   `json:"mode"`
	Owner  string `json:"owner"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	// From is where the content was copied from, "" where it is countersign's own.
	From string `json:"from,omitempty"`
	// Program is a file that is started: one that somebody changed is not worked
	// around.
	Program bool `json:"program"`

	data []byte
	// theirs is set where the directory belongs to who reads the file, as polkit's
	// does: nothing that root starts is in it.
	theirs bool
}

func (m *machine) writeFile(path string, mode mode, data []byte) *WriteFile {
	return &WriteFile{Path: path, Mode: mode, Owner: m.owner, SHA256: hash(data), Size: len(data), data: data}
}

// Kind implements Step.
func (s *WriteFile) Kind() Kind { return KindWrite }

func (s *WriteFile) String() string {
	text := fmt.Sprintf("write %s %s %s, %d bytes, sha256 %.12s", s.Path, s.Mode, s.Owner, s.Size, s.SHA256)
	if s.From != "" {
		text += ", from " + s.From
	}
	return text
}

func (s *WriteFile) state(_ context.Context, m *machine) (State, error) {
	have, err := m.tree.read(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Needed, nil
	case err != nil:
		return "", err
	case hash(have) == s.SHA256:
		if e := m.book.file(s.Path); e != nil && !e.Done {
			return Needed, nil // its modes may be missing yet
		}
		return Done, nil
	}
	ours := m.book.file(s.Path)
	switch {
	case ours == nil:
		return "", fail(CodeConflict, "move it away, or remove it: "+m.remover(s.Path), "%s is there already, and Countersign did not write it", s.Path)
	case ours.owns(have):
		return Needed, nil
	case s.Program:
		return "", fail(CodeConflict, "remove it: "+m.remover(s.Path), "%s is not the program that was installed: somebody changed it", s.Path)
	}
	return Kept, nil
}

func (s *WriteFile) apply(ctx context.Context, m *machine) error {
	state, err := s.state(ctx, m)
	if err != nil {
		return err
	}
	switch state {
	case Needed:
		return m.place(KindWrite, s)
	case Kept:
		return m.placeBeside(s)
	case Done, Others:
	}
	return nil
}

// remover is the command that removes a file of whoever is installed for.
func (m *machine) remover(path string) string {
	if m.tree.foreign {
		return mend.Words("rm", path)
	}
	return mend.Words("sudo", "rm", m.tree.full(path))
}

// owns is whether a content is one that was written there, or the nothing that
// kardianos/service was interrupted at.
func (e *entry) owns(data []byte) bool {
	return slices.Contains(e.Wrote, hash(data)) || e.interrupted() && len(data) == 0
}

func (e *entry) interrupted() bool { return e.Kind == KindService && !e.Done }

// place writes a file, in the record first.
func (m *machine) place(kind Kind, s *WriteFile) error {
	if !s.theirs {
		if err := m.tree.guarded(s.Path); err != nil {
			return err
		}
	}
	m.book.freshen(s.Path)
	if err := m.book.intend(entry{Kind: kind, Path: s.Path, Wrote: []string{s.SHA256}}); err != nil {
		return err
	}
	if err := m.tree.write(s.Path, s.data, fs.FileMode(s.Mode)); err != nil {
		return err
	}
	return m.book.done(kind, s.Path, "", "")
}

// placeBeside writes the new version of a file that somebody changed. It is
// offered once: who has seen to it is not asked again.
func (m *machine) placeBeside(s *WriteFile) error {
	ours := m.book.file(s.Path)
	if ours.latest() == s.SHA256 {
		return nil
	}
	beside := *s
	beside.Path += ".new"
	if err := m.place(KindWrite, &beside); err != nil {
		return err
	}
	if err := m.book.intend(entry{Kind: ours.Kind, Path: s.Path, Wrote: []string{s.SHA256}}); err != nil {
		return err
	}
	return m.book.done(ours.Kind, s.Path, "", "")
}

func (e *entry) latest() string {
	if len(e.Wrote) == 0 {
		return ""
	}
	return e.Wrote[len(e.Wrote)-1]
}

// RemoveFile removes a file that is as it was written. Any other stays.
type RemoveFile struct {
	Path string `json:"path"`
	// SHA256 are the contents that were written there.
	SHA256 []string `json:"sha256"`
}

// Kind implements Step.
func (s *RemoveFile) Kind() Kind { return KindRemoveFile }

func (s *RemoveFile) String() string { return "remove " + s.Path }

func (s *RemoveFile) state(ctx context.Context, m *machine) (State, error) {
	have, err := m.tree.read(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Done, nil
	case err != nil || !slices.Contains(s.SHA256, hash(have)):
		return Kept, nil //nolint:nilerr // what is no plain file any more is not the one that was written
	case m.packaged(ctx, s.Path) != "":
		return Others, nil
	}
	return Needed, nil
}

func (s *RemoveFile) apply(ctx context.Context, m *machine) error {
	if err := m.tree.remove(temporary(s.Path)); err != nil {
		return err
	}
	state, err := s.state(ctx, m)
	if err != nil || state != Needed {
		return err
	}
	return m.tree.remove(s.Path)
}

// RemoveDirectory removes a directory that was made, once it is empty.
type RemoveDirectory struct {
	Path string `json:"path"`
}

// Kind implements Step.
func (s *RemoveDirectory) Kind() Kind { return KindRemoveDirectory }

func (s *RemoveDirectory) String() string { return "remove directory " + s.Path + ", if it is empty" }

func (s *RemoveDirectory) state(_ context.Context, m *machine) (State, error) {
	if m.tree.count(s.Path) < 0 {
		return Done, nil
	}
	return Needed, nil
}

func (s *RemoveDirectory) apply(_ context.Context, m *machine) error {
	if m.tree.count(s.Path) != 0 {
		return nil
	}
	return m.tree.remove(s.Path)
}

// RemoveState removes what the service stored: the keys, or its log.
type RemoveState struct {
	Path string `json:"path"`
	// What is in it, for people.
	What string `json:"what"`
}

// Kind implements Step.
func (s *RemoveState) Kind() Kind { return KindRemoveState }

func (s *RemoveState) String() string { return "remove " + s.Path + " with " + s.What }

func (s *RemoveState) state(_ context.Context, m *machine) (State, error) {
	if m.tree.exists(s.Path) {
		return Needed, nil
	}
	return Done, nil
}

func (s *RemoveState) apply(_ context.Context, m *machine) error { return m.tree.removeAll(s.Path) }
